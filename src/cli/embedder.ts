import { Embedder } from '../inference/embedder.ts';
import { Engine } from '../inference/engine.ts';
import type { Environment } from './session.ts';

/** An engine as the settings have it. Its process starts with the first text. */
export function createEngine({ config, logger }: Environment): Engine {
  const threads = config.PGEMBEDDER_THREADS;
  return new Engine({ logger, ...(threads === undefined ? {} : { threads }) });
}

/** Has an engine of this process used, and ends it. */
export async function withEmbedder<Result>(
  environment: Environment,
  use: (embedder: Embedder) => Promise<Result>,
): Promise<Result> {
  const engine = createEngine(environment);
  try {
    return await use(new Embedder({ engine, tokenBudget: environment.config.PGEMBEDDER_TOKEN_BUDGET }));
  } finally {
    await engine.stop();
  }
}
