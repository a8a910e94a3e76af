/** The library: what `import ... from 'pgembedder'` gives. */
export { type Connection, type Database, openDatabase } from './database/database.ts';
export { type MigrationResult, migrate } from './database/migrator.ts';
export { UserError } from './errors.ts';
export {
  alterPipeline,
  definePipeline,
  type PipelineChange,
  type PipelineDefinition,
} from './pipelines/define.ts';
export type { WorkerEvents, WorkerStats } from './worker/events.ts';
export {
  createWorker,
  type DrainResult,
  type Worker,
  type WorkerOptions,
  type WorkerState,
} from './worker/worker.ts';
