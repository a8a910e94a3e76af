/** The library: what `import ... from 'pgembedder'` gives. */
export { type Connection, type Database, openDatabase } from './database/database.ts';
export type { MigrationResult } from './database/migrate/migrate.ts';
export type { Endpoint } from './endpoints/endpoint.ts';
export { readEndpoints } from './endpoints/read-endpoints.ts';
export { UserError } from './errors.ts';
export { EngineError } from './inference/backend/engine-error.ts';
export {
  createEmbedder,
  type EmbedderSettings,
  type EmbedSettings,
  type RankedText,
  type SparseSettings,
  type TextModels,
} from './library/embedder.ts';
export { migrate } from './library/migrate.ts';
export { type SearchSettings, search } from './library/search.ts';
export { createWorker, type LibraryWorkerOptions as WorkerOptions } from './library/worker.ts';
export {
  alterPipeline,
  definePipeline,
  type PipelineChange,
  type PipelineDefinition,
} from './pipelines/define.ts';
export { checkPipelines, type Fault, type PipelineReport, type RowFault } from './pipelines/verify.ts';
export { type RowKey, type WaitSettings, waitFor } from './pipelines/wait-for.ts';
export type { Match } from './search/search.ts';
export type { SparseVector } from './sparse-vector.ts';
export type { Entity, LabelResult } from './tasks/results.ts';
export type { LabelTaskOptions } from './tasks/task-options.ts';
export type { WorkerEvents, WorkerStats } from './worker/events.ts';
export type { DrainResult, Worker, WorkerState } from './worker/worker.ts';
