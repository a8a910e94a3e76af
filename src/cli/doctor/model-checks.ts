import { UserError } from '../../errors.ts';
import type { Device } from '../../inference/devices/device.ts';
import { EngineError } from '../../inference/engine-error.ts';
import { withEmbedder } from '../embedder.ts';
import { formatMilliseconds } from '../format.ts';
import type { Environment } from '../session.ts';
import { fail, ok, type Report } from './check.ts';

/** Whether each model is here, has its checksum, loads in an engine process and gives what it should. */
export async function checkModels(
  environment: Environment,
  device: Device,
  names: readonly string[],
  add: Report,
): Promise<void> {
  await withEmbedder(environment, device, async (embedder, store) => {
    for (const name of names) {
      try {
        const model = store.find(name, 'feature-extraction');
        const checksum = model.expectedSha256 === null ? 'no checksum known' : 'checksum right';
        add(ok('model', `${name}: ${model.onnxPath}`));
        const begin = performance.now();
        // The engine compares checksum and dimensions when it loads the file.
        const [vector] = await embedder.embedTexts(model, ['a small cat']);
        if (vector instanceof EngineError) throw vector;
        const time = formatMilliseconds(performance.now() - begin);
        add(ok('engine', `${name}: ${checksum}, ${vector!.length} dimensions, loaded and run in ${time}`));
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        const point = error instanceof EngineError ? 'engine' : 'model';
        add(fail(point, error.message, error.hint ?? null));
      }
    }
  });
}
