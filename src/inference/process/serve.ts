import { setImmediate as nextTurn } from 'node:timers/promises';
import { messageOf } from '../../errors.ts';
import { EngineError } from '../backend/engine-error.ts';
import { comparePriority } from '../backend/priority.ts';
import {
  type EngineReply,
  type EngineSettings,
  isRunRequest,
  MOST_IN_A_ROW,
  type RunRequest,
  type SentError,
} from '../wire/protocol.ts';
import { ModelSession } from './model-session.ts';
import { outOfMemory } from './out-of-memory.ts';

/** What tests may put into an engine process. */
export interface EngineHooks {
  /** Called before each batch is run, with its token ids; to end the process, to hang, or to throw. */
  beforeRun?(ids: Int32Array): void | Promise<void>;
}

/**
 * The engine process: loads its session and runs batches one by one.
 *
 * It has one aim in life, its client. So Ctrl-C, which the terminal sends to every process of the group, is left to
 * the client to act on; and when the client is gone, however that came about, the channel closes and it ends.
 */
export function serveEngine(settings: EngineSettings, hooks: EngineHooks = {}): void {
  const waiting: RunRequest[] = [];
  /** Batches in a row that went before the one that came first. */
  let passed = 0;
  let session: ModelSession | undefined;
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
  void load();

  async function load(): Promise<void> {
    await send({ type: 'loading' });
    try {
      session = await ModelSession.load(settings.session, settings);
    } catch (error) {
      await send({ type: 'unloadable', ...sentError(error, 'load') });
      return;
    }
    await send({ type: 'ready', residentBytes: process.memoryUsage.rss() });
  }

  async function work(): Promise<void> {
    if (busy) {
      return;
    }
    busy = true;
    for (let request = next(); request; request = next()) {
      // Written out before the next batch starts: a batch that kills the process must not take the result along.
      await send(await answer(request));
      // What came during the run is heard now, so that an interactive batch goes before the one that waits here.
      await nextTurn();
    }
    busy = false;
  }

  /** The first of those that are due soonest; now and then the one that came first. */
  function next(): RunRequest | undefined {
    const soonest = waiting.toSorted((a, b) => comparePriority(a.priority, b.priority))[0];
    const place = soonest && passed < MOST_IN_A_ROW ? waiting.indexOf(soonest) : 0;
    passed = place > 0 ? passed + 1 : 0;
    return waiting.splice(place, 1)[0];
  }

  async function answer(request: RunRequest): Promise<EngineReply> {
    const { id } = request;
    try {
      if (!session) {
        throw new EngineError('load', 'a batch came before the session was loaded');
      }
      await send({ type: 'started', id });
      await hooks.beforeRun?.(request.ids);
      const begin = performance.now();
      const result = await session.run(request, request.normalize);
      const runMs = performance.now() - begin;
      return { type: 'result', id, runMs, residentBytes: process.memoryUsage.rss(), ...result };
    } catch (error) {
      return { type: 'failed', id, ...sentError(error, outOfMemory(error) ? 'memory' : 'run') };
    }
  }
}

function sentError(error: unknown, kind: SentError['kind']): SentError {
  return error instanceof EngineError
    ? { kind: error.kind, message: error.message, hint: error.hint }
    : { kind, message: messageOf(error), hint: undefined };
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
