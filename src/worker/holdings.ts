import { EventEmitter } from 'node:events';
import type { Job, JobPriority } from '../queue/jobs.ts';

/** The jobs that this worker holds leases on: claimed, and neither done, failed nor given back. */
export class Holdings extends EventEmitter<{ freed: [] }> {
  readonly #jobs = new Map<number, Map<string, Job>>();
  readonly #sizes: Record<JobPriority, number> = { normal: 0, backfill: 0 };

  get size(): number {
    return this.#sizes.normal + this.#sizes.backfill;
  }

  add(jobs: readonly Job[]): void {
    for (const job of jobs) {
      const ofPipeline = this.#jobs.get(job.pipelineId) ?? new Map<string, Job>();
      this.#jobs.set(job.pipelineId, ofPipeline);
      // A row whose lease ran out can come back to this worker: it is held once, by the later claim.
      const before = ofPipeline.get(job.rowKey);
      if (before) this.#count(before, -1);
      this.#count(job, 1);
      ofPipeline.set(job.rowKey, job);
    }
  }

  /** How many jobs of a priority are held, of pipelines other than the given ones. */
  others(than: ReadonlySet<number>, priority: JobPriority): number {
    let held = this.#sizes[priority];
    for (const id of than)
      for (const job of this.#jobs.get(id)?.values() ?? []) if (job.priority === priority) held--;
    return held;
  }

  /** Whether a job is held by just this claim; a row whose lease ran out may be held by a later one. */
  has(job: Job): boolean {
    return this.#jobs.get(job.pipelineId)?.get(job.rowKey) === job;
  }

  remove(jobs: readonly Job[]): void {
    for (const job of jobs) {
      const ofPipeline = this.#jobs.get(job.pipelineId);
      if (ofPipeline?.get(job.rowKey) !== job) continue;
      ofPipeline.delete(job.rowKey);
      this.#count(job, -1);
    }
    this.emit('freed');
  }

  #count(job: Job, change: 1 | -1): void {
    this.#sizes[job.priority] += change;
  }

  /** What is held, in one list for each pipeline of which anything is held. */
  byPipeline(): Job[][] {
    return [...this.#jobs.values()].filter((jobs) => jobs.size > 0).map((jobs) => [...jobs.values()]);
  }
}
