import type { AnyTaskOptions } from '../tasks/task-options.ts';
import type { TaskName } from '../tasks/tasks.ts';

/** What a pipeline does with its texts. */
export type PipelineTask = TaskName;

/** The options of a pipeline's task, as embedder.create_pipeline has checked them. */
export type PipelineOptions = AnyTaskOptions;

/** How a pipeline is, as embedder.status says it. */
export type PipelineState = 'paused' | 'error' | 'filling' | 'live';
