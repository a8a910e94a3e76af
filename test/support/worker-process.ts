import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { WorkerStats } from '../../src/worker/events.ts';
import type { WorkerOptions } from '../../src/worker/options.ts';

const ENTRY = fileURLToPath(new URL('../fixtures/workers/worker.mjs', import.meta.url));

/** Options that survive being written as JSON. */
export type PlainWorkerOptions = Omit<WorkerOptions, 'logger' | 'embedder'>;

/** A worker in a process of its own. Runs dist/: build first. */
export interface WorkerProcess {
  readonly child: ChildProcess;
  /** What it has told so far, and tells from now on; see test/fixtures/workers/worker.mjs. */
  readonly told: { event: string; value: unknown }[];
  readonly events: EventEmitter;
  /** Rows whose vector it has written. */
  readonly embedded: number;
  /** Resolves with its exit code, or the signal that ended it. */
  readonly exited: Promise<number | string>;
  /** SIGTERM; resolves with what it did, when it has exited with 0. */
  stop(): Promise<WorkerStats>;
}

/** Starts one; resolves when it looks for jobs. */
export async function startWorkerProcess(options: PlainWorkerOptions): Promise<WorkerProcess> {
  const child = spawn(process.execPath, [ENTRY, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const told: WorkerProcess['told'] = [];
  const events = new EventEmitter();
  let embedded = 0;
  let complaints = '';
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const said = JSON.parse(line) as { event: string; value: unknown };
    told.push(said);
    if (said.event === 'completed') embedded += (said.value as { embedded: number }).embedded;
    events.emit(said.event, said.value);
  });
  child.stderr!.on('data', (chunk: Buffer) => {
    complaints += chunk.toString();
  });
  // 'close' and not 'exit': all that it said has been read.
  const exited = once(child, 'close').then(
    ([code, signal]: (number | string | null)[]): number | string => code ?? signal ?? 'lost',
  );
  const failed = exited.then((how) => {
    throw new Error(`the worker ended (${how}) before it began: ${complaints}`);
  });
  failed.catch(() => {});
  await Promise.race([once(events, 'started'), failed]);
  return {
    child,
    told,
    events,
    get embedded() {
      return embedded;
    },
    exited,
    async stop() {
      child.kill('SIGTERM');
      const how = await exited;
      if (how !== 0) throw new Error(`the worker ended with ${how}: ${complaints}`);
      return told.find(({ event }) => event === 'stopped')!.value as WorkerStats;
    },
  };
}
