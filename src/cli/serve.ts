import { Command } from 'commander';
import { type HttpServer, startHttpServer } from '../http/server.ts';
import type { Embedder } from '../inference/embedder.ts';
import { pinnedVariants } from '../models/choice.ts';
import { modelsDirectory } from '../models/places.ts';
import { WorkerEvents } from '../worker/events.ts';
import { prepareModels } from '../worker/prepare-models.ts';
import type { WorkerState } from '../worker/worker.ts';
import { addDeviceOption, type DeviceOptions, engineOptions } from './embedder.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { UsageError } from './errors.ts';
import { httpSettings } from './http-settings.ts';
import { StopSignals } from './signals.ts';

/** `pgembedder serve` */
export function serveCommand(): Command {
  const command = new Command('serve')
    .description(
      'run models for HTTP requests, as OpenAI and text-embeddings-inference do; needs no database',
    )
    .addHelpText(
      'after',
      `
It listens at PGEMBEDDER_HTTP; /docs there shows what it takes. A worker serves the same beside its pipelines.

Example:
  $ pgembedder serve &
  $ curl -s http://127.0.0.1:8089/v1/embeddings -H 'Content-Type: application/json' -d '{"input": "a small cat"}'`,
    )
    .action(run);
  return addDeviceOption(command);
}

async function run(options: DeviceOptions): Promise<void> {
  const environment = readEnvironment(true);
  const settings = httpSettings(environment, true);
  if (!settings) {
    throw new UsageError('PGEMBEDDER_HTTP is off, and there is nothing else to do', {
      hint: 'Set it to an address such as 127.0.0.1:8089, or leave it out',
    });
  }
  const { logger } = environment;
  const models = new ServedModels();
  const signals = new StopSignals();
  let http: HttpServer | undefined;
  try {
    http = await startHttpServer({ ...settings, served: models, connection: null, logger });
    await models.open(environment, options);
    await signals.wait();
    logger.info('stopping; a second signal ends at once');
  } finally {
    await models.stop(environment.config.PGEMBEDDER_STOP_SECONDS * 1_000);
    await http?.close();
    signals.dispose();
  }
}

/** What is served without a worker: models, and what they tell. */
class ServedModels {
  readonly events = new WorkerEvents();
  state: WorkerState = 'starting';
  #embedder: Embedder | undefined;

  get embedder() {
    return this.#embedder;
  }

  get sessions() {
    return this.#embedder?.sessions ?? [];
  }

  /** @throws UserError when the device does not work */
  async open({ config, logger, endpoints }: Environment, { device }: DeviceOptions): Promise<void> {
    const options = {
      logger,
      endpoints,
      device: device ?? config.PGEMBEDDER_DEVICE,
      modelDirectories: [modelsDirectory(config)],
      pinnedVariants: pinnedVariants(config),
      engine: engineOptions(config),
      tokenBudget: config.PGEMBEDDER_TOKEN_BUDGET,
    };
    await prepareModels(options, this.events, (embedder) => {
      this.#embedder = embedder;
    });
    this.state = 'working';
  }

  /** Ends when what was accepted is answered, or the time is over. */
  async stop(limitMs: number): Promise<void> {
    this.state = 'stopping';
    await this.events.tellStopping(limitMs);
    await this.#embedder?.stop(0);
    this.state = 'stopped';
  }
}
