import type { Priority } from '../inference/backend/priority.ts';
import type { DoneText, TextEmbedder } from '../inference/text-embedder.ts';
import { givesVectors } from '../model-files/description.ts';
import type { Output } from '../queue/batch.ts';
import type { ServedPipeline } from './served-pipelines.ts';
import type { ModelText } from './work-item.ts';

/** Pipelines with the same key can share batches. */
export function sharedBatchKey(embedder: TextEmbedder, { model, pipeline }: ServedPipeline): string {
  if (!givesVectors(model)) return embedder.callKey(model, pipeline.options);
  return embedder.callKey(model, model.sparse ? sparseOptions(pipeline) : vectorOptions(pipeline));
}

/**
 * Gives texts to the model of a pipeline, all of pipelines with one `sharedBatchKey`, and puts what comes out into their
 * work items.
 * @param onTexts called as each batch is done
 * @throws EngineError when the engine can do nothing for any of them; UserError when the options do not fit the model
 */
export async function computeTexts(
  embedder: TextEmbedder,
  { model, pipeline }: ServedPipeline,
  modelTexts: readonly ModelText[],
  priority: Priority,
  onTexts: (done: readonly ModelText[]) => void,
): Promise<void> {
  if (modelTexts.length === 0) return;
  const texts = modelTexts.map(({ text }) => text);
  const onBatch = (done: readonly DoneText<Output>[]) => {
    onTexts(
      done.map(({ place, result }) => {
        const modelText = modelTexts[place]!;
        modelText.item.put(modelText.place, result);
        return modelText;
      }),
    );
  };
  if (!givesVectors(model)) {
    await embedder.labelTexts(model, texts, { ...pipeline.options, priority, onBatch });
  } else if (model.sparse) {
    await embedder.embedSparse(model, texts, { ...sparseOptions(pipeline), priority, onBatch });
  } else {
    await embedder.embedTexts(model, texts, { ...vectorOptions(pipeline), priority, onBatch });
  }
}

function vectorOptions({ options, dimensions }: ServedPipeline['pipeline']) {
  const { pooling, normalize } = options;
  return { pooling, normalize, dimensions: dimensions! };
}

function sparseOptions({ options }: ServedPipeline['pipeline']) {
  return { topK: options.top_k };
}
