import type { EngineError } from '../inference/backend/engine-error.ts';
import type { TextEmbedder } from '../inference/embedder.ts';
import { sessionSpec } from '../inference/session-spec.ts';
import type { LabelTaskOptions } from '../inference/tasks/task-options.ts';
import type { Output } from '../queue/batch.ts';
import type { ServedPipeline } from './served-pipelines.ts';
import type { ModelText } from './work-item.ts';

/** Pipelines with the same key can share a batch: the same session, and results finished in the same way. */
export function sharedBatchKey({ model, pipeline }: ServedPipeline): string {
  const { options } = pipeline;
  if (model.task !== 'feature-extraction')
    return `${model.onnxPath} ${JSON.stringify(labelOptions(pipeline.options))}`;
  const { key, normalize } = sessionSpec(model, options);
  return `${key} ${normalize} ${pipeline.dimensions}`;
}

/**
 * Gives texts to the model of a pipeline, all of pipelines with one `sharedBatchKey`, and puts what comes out into their
 * work items.
 * @param behind whether everything else goes first
 * @param onTexts called as each batch is done
 * @throws EngineError when the engine can do nothing for any of them; UserError when the options do not fit the model
 */
export async function computeTexts(
  embedder: TextEmbedder,
  { model, pipeline }: ServedPipeline,
  modelTexts: readonly ModelText[],
  behind: boolean,
  onTexts: (done: readonly ModelText[]) => void,
): Promise<void> {
  if (modelTexts.length === 0) return;
  const texts = modelTexts.map(({ text }) => text);
  const onBatch = (places: readonly number[], outputs: readonly (Output | EngineError)[]) => {
    const batch = places.map((place) => modelTexts[place]!);
    batch.forEach(({ item, place }, i) => {
      item.put(place, outputs[i]!);
    });
    onTexts(batch);
  };
  if (model.task === 'feature-extraction') {
    const { pooling, normalize } = pipeline.options;
    const dimensions = pipeline.dimensions!;
    await embedder.embedTexts(model, texts, { pooling, normalize, dimensions, behind, onBatch });
  } else {
    await embedder.labelTexts(model, texts, { ...labelOptions(pipeline.options), behind, onBatch });
  }
}

function labelOptions({
  top_k,
  labels,
  hypothesis_template,
  multi_label,
  aggregation_strategy,
}: ServedPipeline['pipeline']['options']): LabelTaskOptions {
  return { top_k, labels, hypothesis_template, multi_label, aggregation_strategy };
}
