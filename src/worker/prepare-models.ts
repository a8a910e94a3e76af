import { cpu, type Device } from '../inference/devices/device.ts';
import { chooseDevice } from '../inference/devices/resolve-device.ts';
import { variantOrder } from '../inference/devices/variant-order.ts';
import { Embedder, type TextEmbedder, type TokenizedReport } from '../inference/embedder.ts';
import { Engine } from '../inference/engine/engine.ts';
import { modelsDirectory } from '../models/places.ts';
import { createModelStore, type ModelStore } from '../models/store.ts';
import type { WorkerEvents } from './events.ts';
import type { WorkerOptions } from './options.ts';

/** What a worker embeds with. */
export interface Models {
  readonly store: ModelStore;
  readonly embedder: TextEmbedder;
}

/**
 * Chooses the device, and the models that suit it. What the engine does is told as the worker's events.
 * @param onEngine called with the engine as soon as there is one: it is the caller's to stop
 * @throws UserError when a device that is named does not work
 */
export async function prepareModels(
  options: WorkerOptions,
  events: WorkerEvents,
  onEngine: (engine: Engine) => void,
): Promise<Models> {
  const { embedder, device: setting = 'auto', logger, tokenBudget } = options;
  if (embedder) return { embedder, store: openStore(options, cpu) };
  const device = await chooseDevice(setting, { logger });
  const engine = new Engine({ ...options.engine, logger, device });
  onEngine(engine);
  engine.on('started', () => events.emit('engineStarted'));
  engine.on('loaded', () => events.emit('engineLoaded'));
  engine.on('batch', (report) => events.emit('batch', report));
  engine.on('died', ({ signal, code, phase }) => events.emit('engineDied', { signal, code, phase }));
  const onTokenized = (report: TokenizedReport) => events.emit('tokenized', report);
  return {
    embedder: new Embedder({ engine, tokenBudget, onTokenized }),
    store: openStore(options, device),
  };
}

function openStore({ modelDirectories, pinnedVariants }: WorkerOptions, device: Device): ModelStore {
  return createModelStore({
    directories: modelDirectories ?? [modelsDirectory()],
    pinned: pinnedVariants,
    variants: variantOrder(device),
  });
}
