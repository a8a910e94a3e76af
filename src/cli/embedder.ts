import { type Command, InvalidArgumentError } from 'commander';
import { type Config, DEVICE_CHOICES, DEVICE_PATTERN } from '../config.ts';
import type { Device } from '../inference/devices/device.ts';
import { chooseDevice } from '../inference/devices/resolve-device.ts';
import { variantOrder } from '../inference/devices/variant-order.ts';
import { Embedder } from '../inference/embedder.ts';
import { Engine, type EngineOptions } from '../inference/engine/engine.ts';
import type { ModelStore } from '../models/store.ts';
import { type Environment, openStore } from './environment.ts';

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
export function engineOptions(config: Config): Omit<EngineOptions, 'logger' | 'device'> {
  const megabytes = config.PGEMBEDDER_ENGINE_MEMORY_MB;
  return {
    engines: config.PGEMBEDDER_ENGINES,
    threads: config.PGEMBEDDER_THREADS,
    idleMs: config.PGEMBEDDER_IDLE_SECONDS * 1_000,
    memoryLimitBytes: megabytes === undefined ? undefined : megabytes * 2 ** 20,
  };
}

/** An engine as the settings have it. Its processes start with the first text. */
export function createEngine({ config, logger }: Environment, device: Device): Engine {
  return new Engine({ logger, device, ...engineOptions(config) });
}

/** Makes an engine on a device, has it used, and ends it. The store that comes with it prefers variants that suit the device. */
export async function withEmbedder<Result>(
  environment: Environment,
  device: Device,
  use: (embedder: Embedder, store: ModelStore) => Promise<Result>,
): Promise<Result> {
  const engine = createEngine(environment, device);
  const embedder = new Embedder({ engine, tokenBudget: environment.config.PGEMBEDDER_TOKEN_BUDGET });
  try {
    return await use(embedder, openStore(environment.config, variantOrder(device)));
  } finally {
    await engine.stop();
  }
}
