import type { Config } from '../config.ts';
import { Embedder } from '../inference/embedder.ts';
import { Engine, type EngineOptions } from '../inference/engine.ts';
import type { Environment } from './session.ts';

/** What of the settings concerns the engine. */
export function engineOptions(config: Config): Omit<EngineOptions, 'logger'> {
  const megabytes = config.PGEMBEDDER_ENGINE_MEMORY_MB;
  return {
    engines: config.PGEMBEDDER_ENGINES,
    threads: config.PGEMBEDDER_THREADS,
    idleMs: config.PGEMBEDDER_IDLE_SECONDS * 1_000,
    memoryLimitBytes: megabytes === undefined ? undefined : megabytes * 2 ** 20,
  };
}

/** An engine as the settings have it. Its processes start with the first text. */
export function createEngine({ config, logger }: Environment): Engine {
  return new Engine({ logger, ...engineOptions(config) });
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
