import { type Command, InvalidArgumentError } from 'commander';
import { type Config, DEVICE_CHOICES, DEVICE_PATTERN } from '../config.ts';
import type { Device } from '../inference/devices/device.ts';
import { chooseDevice } from '../inference/devices/resolve-device.ts';
import type { Embedder } from '../inference/embedder.ts';
import { type EngineSettings, openEmbedder } from '../inference/open-embedder.ts';
import { pinnedVariants } from '../models/choice.ts';
import { modelsDirectory } from '../models/places.ts';
import type { Environment } from './environment.ts';

/** The flag that says what runs the models. */
export interface DeviceOptions {
  device?: string;
}

/** Gives a command the flag of `openDevice`. */
export function addDeviceOption(command: Command): Command {
  const description = `what runs the model: ${DEVICE_CHOICES} (default: PGEMBEDDER_DEVICE, or auto)`;
  return command.option('--device <name>', description, (name) => {
    if (!DEVICE_PATTERN.test(name)) throw new InvalidArgumentError(`It is ${DEVICE_CHOICES}.`);
    return name;
  });
}

/** The device that the flag names, or the environment. @throws UserError when it does not work */
export function openDevice({ config, logger }: Environment, { device }: DeviceOptions): Promise<Device> {
  return chooseDevice(device ?? config.PGEMBEDDER_DEVICE, { logger });
}

/** The settings of the engine. */
export function engineOptions(config: Config): EngineSettings {
  const megabytes = config.PGEMBEDDER_ENGINE_MEMORY_MB;
  return {
    engines: config.PGEMBEDDER_ENGINES,
    threads: config.PGEMBEDDER_THREADS,
    idleMs: config.PGEMBEDDER_IDLE_SECONDS * 1_000,
    memoryLimitBytes: megabytes === undefined ? undefined : megabytes * 2 ** 20,
  };
}

/** Embeds as the settings have it. Its processes start with the first text; it is the caller's to stop. */
export function createEmbedder(environment: Environment, device: Device): Embedder {
  const { config, logger, endpoints } = environment;
  return openEmbedder({
    endpoints,
    logger,
    device,
    directories: [modelsDirectory(config)],
    pinned: pinnedVariants(config),
    engine: engineOptions(config),
    tokenBudget: config.PGEMBEDDER_TOKEN_BUDGET,
  });
}

/** Has an embedder on a device used, and stops it. */
export async function withEmbedder<Result>(
  environment: Environment,
  device: Device,
  use: (embedder: Embedder) => Promise<Result>,
): Promise<Result> {
  const embedder = createEmbedder(environment, device);
  try {
    return await use(embedder);
  } finally {
    await embedder.stop();
  }
}
