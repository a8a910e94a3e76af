import { type Config, SCOPES, type ScopedToken } from '../config.ts';
import { modelName } from '../endpoints/endpoint.ts';
import { httpAddress } from '../http/address.ts';
import { readOpened } from '../http/search/opened.ts';
import type { HttpServerOptions } from '../http/server.ts';
import { isLoopback } from '../loopback.ts';
import { DEFAULT_MODEL, defaultModel, type ModelChoice } from '../models/choice.ts';
import { featureExtraction } from '../tasks/feature-extraction.ts';
import { zeroShotClassification } from '../tasks/zero-shot-classification.ts';
import type { Environment } from './environment.ts';

type HttpSettings = Pick<
  HttpServerOptions,
  'address' | 'tokens' | 'api' | 'search' | 'endpoints' | 'origins'
>;

/**
 * The settings of the HTTP server; null where there is to be none.
 * @param api whether it runs models for requests, where the settings leave it open
 * @throws UserError where others could reach it and no token keeps them out
 */
export function httpSettings(environment: Environment, api?: true): HttpSettings | null {
  const { config } = environment;
  const tokens = tokensOf(config);
  const address = httpAddress(config.PGEMBEDDER_HTTP, { tokens, open: config.PGEMBEDDER_HTTP_OPEN });
  if (!address) return null;
  // Strangers whom somebody has let see health and metrics are not to use the processors as well, unless they are let do that too.
  const closed = tokens.length > 0 || isLoopback(address.host);
  const wanted = api ?? config.PGEMBEDDER_HTTP_API ?? closed;
  const models: NonNullable<HttpServerOptions['api']> = {
    defaultFor: (task) => modelFor(config, task),
    list: () => modelsOf(environment),
  };
  const opened = readOpened(config.PGEMBEDDER_HTTP_SEARCH);
  return {
    address,
    tokens,
    api: wanted ? models : null,
    search: opened.length > 0 ? { opened, models } : null,
    endpoints: environment.endpoints,
    origins: config.PGEMBEDDER_HTTP_CORS,
  };
}

function tokensOf({ PGEMBEDDER_HTTP_TOKEN: all, PGEMBEDDER_HTTP_TOKENS: some }: Config): ScopedToken[] {
  return [...(all === undefined ? [] : [{ token: all, scopes: SCOPES }]), ...some];
}

function modelsOf({ store, endpoints }: Environment) {
  const elsewhere = endpoints.flatMap((endpoint) =>
    endpoint.models.map((model) => ({
      ...{ name: modelName(endpoint, model), task: featureExtraction.name },
      ...{ variants: [], directory: null },
    })),
  );
  return [...store.list(), ...elsewhere];
}

/** A model that gives vectors finds the nearest of labels as well. */
function modelFor(config: Config, task: string): ModelChoice | null {
  const vectors = task === zeroShotClassification.name ? { name: DEFAULT_MODEL } : null;
  return defaultModel(config, task) ?? vectors;
}
