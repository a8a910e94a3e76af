import type { Endpoint } from '../../endpoints/endpoint.ts';
import { UserError } from '../../errors.ts';
import { EngineError } from '../../inference/backend/engine-error.ts';
import type { Device } from '../../inference/devices/device.ts';
import type { Embedder } from '../../inference/embedder.ts';
import { givesVectors, type LogitsModel, type ServedModel } from '../../model-files/description.ts';
import { taskNamed } from '../../tasks/tasks.ts';
import { withEmbedder } from '../embedder.ts';
import type { Environment } from '../environment.ts';
import { formatMilliseconds } from '../format.ts';
import { fail, ok, type Report } from './check.ts';

/** Whether each model is here, has the right checksum, loads in an engine process and gives what it should. */
export async function checkModels(
  environment: Environment,
  device: Device,
  names: readonly string[],
  add: Report,
): Promise<void> {
  await withEmbedder(environment, device, async (embedder) => {
    for (const name of names) {
      try {
        const model = embedder.find(name);
        add(ok('model', `${name}: ${whereOf(model)}`));
        const begin = performance.now();
        // The engine compares checksum and what the model gives when it loads the file.
        const given = await tryModel(embedder, model);
        const time = formatMilliseconds(performance.now() - begin);
        const did = 'endpoint' in model ? 'answered' : 'loaded and run';
        add(ok('engine', `${name}: ${checksumOf(model)}${given}, ${did} in ${time}`));
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        const point = error instanceof EngineError ? 'engine' : 'model';
        add(fail(point, error.message, error.hint ?? null));
      }
    }
  });
}

function whereOf(model: ServedModel): string {
  if ('onnxPath' in model) return String(model.onnxPath);
  return 'endpoint' in model ? (model.endpoint as Endpoint).url : model.task;
}

/** What the engine has compared, of a model with files on this machine. */
function checksumOf(model: ServedModel): string {
  if (!('expectedSha256' in model)) return '';
  return model.expectedSha256 === null ? 'no checksum known, ' : 'checksum right, ';
}

/** Runs a model once, and says what it gives. @throws EngineError */
async function tryModel(embedder: Embedder, model: ServedModel): Promise<string> {
  const texts = ['a small cat'];
  if (givesVectors(model)) {
    const [vector] = model.sparse
      ? await embedder.embedSparse(model, texts)
      : await embedder.embedTexts(model, texts);
    if (vector instanceof EngineError) throw vector;
    return `${model.sparse ? 'sparse vectors of ' : ''}${model.dimensions} dimensions`;
  }
  const task = taskNamed(model.task);
  if (task.result === 'score') {
    const [score] = await embedder.rankTexts(model as LogitsModel, texts[0]!, texts, task.trial);
    if (score instanceof EngineError) throw score;
    return task.name;
  }
  const [result] = await embedder.labelTexts(model, texts, task.trial);
  if (result instanceof EngineError) throw result;
  return model.task;
}
