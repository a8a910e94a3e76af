import { readFile } from 'node:fs/promises';
import type { Worker } from '../../worker/worker.ts';
import type { Instruments } from './instruments.ts';

/** A loaded session, as its gauge has it. */
interface LoadedSession {
  readonly model: string;
  readonly device: string;
  readonly state: string;
}

/** What the engine has loaded and what it takes. The one place where metrics learn of sessions and memory. */
export class EngineState {
  readonly #worker: Worker;
  /** Of the process that runs: a model whose batch has run is loaded. */
  readonly #models = new Set<string>();

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.events.on('engineStarted', () => this.#models.clear());
    worker.events.on('batch', ({ model }) => this.#models.add(model));
  }

  async collect(instruments: Instruments): Promise<void> {
    const pids = this.#processes();
    const sizes = await Promise.all(pids.map(residentBytes));
    instruments.engineProcesses.set(pids.length);
    instruments.engineMemory.set(sizes.reduce((sum, bytes) => sum + bytes, 0));
    instruments.sessions.reset();
    for (const { model, device, state } of this.#sessions())
      instruments.sessions.inc({ model, device, state });
  }

  #processes(): number[] {
    return this.#worker.enginePid === undefined ? [] : [this.#worker.enginePid];
  }

  #sessions(): LoadedSession[] {
    if (this.#worker.enginePid === undefined) return [];
    return [...this.#models].map((model) => ({ model, device: 'cpu', state: 'loaded' }));
  }
}

/** What a process has resident; 0 where there is no /proc, or no such process any more. */
async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}
