import { chooseDevice } from '../inference/devices/resolve-device.ts';
import type { Embedder } from '../inference/embedder.ts';
import { openEmbedder } from '../inference/open-embedder.ts';
import type { TextEmbedder, TokenizedReport } from '../inference/text-embedder.ts';
import { modelsDirectory } from '../models/places.ts';
import type { WorkerEvents } from './events.ts';
import type { WorkerOptions } from './options.ts';

/** The options of a worker that concern its models. */
export type ModelOptions = Pick<
  WorkerOptions,
  | 'modelDirectories'
  | 'pinnedVariants'
  | 'device'
  | 'engine'
  | 'endpoints'
  | 'tokenBudget'
  | 'embedder'
  | 'logger'
>;

/**
 * Chooses the device, and opens what embeds texts. What its backends do is told as the worker's events.
 * @param onOpen called with the embedder as soon as it is open: it is the caller's to stop
 * @throws UserError when a device that is named does not work
 */
export async function prepareModels(
  options: ModelOptions,
  events: WorkerEvents,
  onOpen: (embedder: Embedder) => void,
): Promise<TextEmbedder> {
  const { device: setting = 'auto', modelDirectories, pinnedVariants, engine, endpoints } = options;
  const { tokenBudget, logger } = options;
  if (options.embedder) return options.embedder;
  const embedder = openEmbedder({
    logger,
    device: await chooseDevice(setting, { logger }),
    directories: modelDirectories ?? [modelsDirectory()],
    pinned: pinnedVariants,
    engine,
    endpoints,
    tokenBudget,
    onTokenized: (report: TokenizedReport) => events.emit('tokenized', report),
  });
  onOpen(embedder);
  for (const backend of embedder.backends) {
    backend.on('started', () => events.emit('engineStarted'));
    backend.on('loaded', () => events.emit('engineLoaded'));
    backend.on('batch', (report) => events.emit('batch', report));
    backend.on('request', (request) => events.emit('endpointRequest', request));
    backend.on('counted', (counted) => events.emit('endpointTokens', counted));
    backend.on('wait', (wait) => events.emit('endpointWait', wait));
    backend.on('died', ({ signal, code, phase }) => events.emit('engineDied', { signal, code, phase }));
  }
  return embedder;
}
