import type { Logger } from 'pino';
import { type Endpoint, modelName } from '../endpoints/endpoint.ts';
import { messageOf } from '../errors.ts';
import { dimensionsOf, givesSparse } from '../model-files/description.ts';
import { featureExtraction } from '../tasks/feature-extraction.ts';
import { catalogModels } from './catalog.ts';
import type { ModelStore } from './store.ts';

/** A model as the table embedder.model holds it: `dimensions` is null for one without vectors. */
export interface KnownModel {
  name: string;
  task: string;
  dimensions: number | null;
  max_tokens: number;
  /** Whether its vectors are sparse. */
  sparse: boolean;
}

/** The catalog's models, and those that are found. */
export function knownModels(
  store: ModelStore,
  endpoints: readonly Endpoint[] = [],
  logger?: Logger,
): KnownModel[] {
  const known = new Map<string, KnownModel>(catalogModels().map((model) => [model.name, model]));
  for (const model of foundModels(store, endpoints, logger)) known.set(model.name, model);
  return [...known.values()];
}

/** The models that lie in the user's own folders, and those of endpoints; broken ones are left out, and named in the log. */
export function foundModels(
  store: ModelStore,
  endpoints: readonly Endpoint[],
  logger?: Logger,
): KnownModel[] {
  return [...ownModels(store, logger), ...endpoints.flatMap(modelsThere)];
}

function modelsThere(endpoint: Endpoint): KnownModel[] {
  return endpoint.models.map((model) => ({
    ...{ name: modelName(endpoint, model), task: featureExtraction.name },
    ...{ dimensions: model.dimensions, max_tokens: model.max_tokens, sparse: false },
  }));
}

function ownModels(store: ModelStore, logger?: Logger): KnownModel[] {
  return store
    .list()
    .filter(({ bundled }) => !bundled)
    .flatMap(({ name }) => {
      try {
        const model = store.find(name);
        const { task, maxTokens } = model;
        return [
          { name, task, dimensions: dimensionsOf(model), max_tokens: maxTokens, sparse: givesSparse(model) },
        ];
      } catch (error) {
        logger?.warn({ model: name, reason: messageOf(error) }, 'model left out');
        return [];
      }
    });
}
