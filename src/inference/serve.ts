import { messageOf } from '../errors.ts';
import { EngineError } from './engine-error.ts';
import { ModelSession } from './model-session.ts';
import { type EngineReply, type EngineSettings, isRunRequest, type RunRequest } from './protocol.ts';

/** What tests may put into an engine process. */
export interface EngineHooks {
  /** Called before each batch is run, with its token ids; to end the process, to hang, or to throw. */
  beforeRun?(ids: Int32Array): void | Promise<void>;
}

/**
 * The engine process: loads sessions on first need and runs batches one by one.
 *
 * It has one aim in life, its client. So Ctrl-C, which the terminal sends to every process of the group, is left to
 * the client to act on; and when the client is gone, however that came about, the channel closes and it ends.
 */
export function serveEngine(settings: EngineSettings, hooks: EngineHooks = {}): void {
  const sessions = new Map<string, ModelSession>();
  const waiting: RunRequest[] = [];
  let busy = false;

  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => {});
  process.on('disconnect', () => process.exit(0));
  process.on('message', (message: unknown) => {
    if (isRunRequest(message)) {
      waiting.push(message);
      void work();
    }
  });
  void send({ type: 'ready' });

  async function work(): Promise<void> {
    if (busy) {
      return;
    }
    busy = true;
    for (let request = waiting.shift(); request; request = waiting.shift()) {
      // Written out before the next batch starts: a batch that kills the process must not take the result along.
      await send(await answer(request));
    }
    busy = false;
  }

  async function answer(request: RunRequest): Promise<EngineReply> {
    try {
      const session = await sessionFor(request);
      await send({ type: 'started', id: request.id });
      await hooks.beforeRun?.(request.ids);
      const begin = performance.now();
      const result = await session.run(request, request.session);
      return { type: 'result', id: request.id, runMs: performance.now() - begin, ...result };
    } catch (error) {
      const kind = error instanceof EngineError ? error.kind : 'run';
      const hint = error instanceof EngineError ? error.hint : undefined;
      return { type: 'failed', id: request.id, kind, message: messageOf(error), hint };
    }
  }

  async function sessionFor({ id, session: spec }: RunRequest): Promise<ModelSession> {
    const loaded = sessions.get(spec.key);
    if (loaded) {
      return loaded;
    }
    await send({ type: 'loading', id });
    const session = await ModelSession.load(spec, settings);
    sessions.set(spec.key, session);
    return session;
  }
}

/** Resolves when the reply is with the operating system. Nobody is there to tell when the channel is closed. */
function send(reply: EngineReply): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) {
      process.send?.(reply, undefined, undefined, () => resolve());
    } else {
      resolve();
    }
  });
}

/** The settings that the client gave at the start. */
export function settingsFromArguments(): EngineSettings {
  return JSON.parse(process.argv[2] ?? '{}');
}
