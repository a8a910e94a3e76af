import type { Logger } from 'pino';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { createModelStore, type StoreOptions } from '../models/store.ts';
import type { Device } from './devices/device.ts';
import { variantOrder } from './devices/variant-order.ts';
import { Embedder, type EmbedderOptions } from './embedder.ts';
import { Endpoints } from './endpoints/endpoints.ts';
import { Engine, type EngineOptions } from './engine/engine.ts';

/** What a user may say of the engine of this machine: its processes, their memory and their end. */
export type EngineSettings = Omit<EngineOptions, 'logger' | 'device' | 'models'>;

/** With what texts are to be embedded. */
export interface OpenOptions
  extends Pick<StoreOptions, 'directories' | 'pinned'>,
    Pick<EmbedderOptions, 'tokenBudget' | 'onTokenized'> {
  readonly logger: Logger;
  /** What runs the models, as `chooseDevice` gives it. */
  readonly device: Device;
  readonly engine?: EngineSettings | undefined;
  /** Servers elsewhere that run models, as `readEndpoints` gives them. Default: none. */
  readonly endpoints?: readonly Endpoint[] | undefined;
}

/** Makes what embeds texts: the one place that knows which backends there are. Nothing starts before the first text. */
export function openEmbedder(options: OpenOptions): Embedder {
  const { directories, pinned, tokenBudget, onTokenized, logger, device, endpoints = [] } = options;
  const models = createModelStore({ directories, pinned, variants: variantOrder(device) });
  const engine = new Engine({ ...options.engine, logger, device, models });
  return new Embedder({ engine, others: [new Endpoints(endpoints)], tokenBudget, onTokenized });
}
