import { type Command, InvalidArgumentError } from 'commander';
import { deviceChoices, devicePattern } from '../config.ts';
import type { Device } from '../inference/devices/device.ts';
import { chooseDevice } from '../inference/devices/resolve-device.ts';
import { Embedder } from '../inference/embedder.ts';
import { Engine } from '../inference/engine.ts';
import type { ModelStore } from '../models/store.ts';
import type { Environment } from './session.ts';

/** The flag that says what runs the models. */
export interface DeviceOptions {
  device?: string;
}

/** Gives a command the flag of `openDevice`. */
export function addDeviceOption(command: Command): Command {
  const description = `what runs the model: ${deviceChoices} (default: PGEMBEDDER_DEVICE, or auto)`;
  return command.option('--device <name>', description, (name) => {
    if (!devicePattern.test(name)) throw new InvalidArgumentError(`It is ${deviceChoices}.`);
    return name;
  });
}

/** The device that the flag names, or the environment. @throws UserError when it does not work */
export function openDevice({ config, logger }: Environment, { device }: DeviceOptions): Promise<Device> {
  return chooseDevice(device ?? config.PGEMBEDDER_DEVICE, { logger, ...threadsOf(config) });
}

/** An engine as the settings have it. Its process starts with the first text. */
export function createEngine({ config, logger }: Environment, device: Device): Engine {
  return new Engine({ logger, device, ...threadsOf(config) });
}

function threadsOf({ PGEMBEDDER_THREADS: threads }: Environment['config']): { threads?: number } {
  return threads === undefined ? {} : { threads };
}

/** Has an engine on a device used, and ends it. The models are to be taken from the store that is given with it. */
export async function withEmbedder<Result>(
  environment: Environment,
  device: Device,
  use: (embedder: Embedder, store: ModelStore) => Promise<Result>,
): Promise<Result> {
  const engine = createEngine(environment, device);
  const embedder = new Embedder({ engine, tokenBudget: environment.config.PGEMBEDDER_TOKEN_BUDGET });
  try {
    return await use(embedder, environment.store);
  } finally {
    await engine.stop();
  }
}
