import { UserError } from '../../errors.ts';
import {
  type Binding,
  cudaProblem,
  findBinding,
  hasCudaProvider,
  inspectCuda,
} from '../../inference/devices/cuda-installation.ts';
import { cpu, type Device, deviceName } from '../../inference/devices/device.ts';
import { probeDevice } from '../../inference/devices/probe-device.ts';
import { resolveDevice } from '../../inference/devices/resolve-device.ts';
import type { DeviceOptions } from '../embedder.ts';
import type { Environment } from '../environment.ts';
import { fail, ok, type Report, warn } from './check.ts';

/**
 * ONNX Runtime, CUDA's libraries if they are there, and the device that flag or environment ask for.
 * @returns the device that the models are to be checked on: the CPU where another does not work
 */
export async function checkDevice(
  { config }: Environment,
  options: DeviceOptions,
  add: Report,
): Promise<Device> {
  const setting = options.device ?? config.PGEMBEDDER_DEVICE;
  const binding = findBinding();
  const { known } = await probeDevice({ device: cpu, threads: 1, measure: false });
  if (known.length === 0) {
    add(fail('runtime', `ONNX Runtime ${binding.version} does not start`, 'Install pgembedder again'));
    return cpu;
  }
  add(ok('runtime', `ONNX Runtime ${binding.version}, which has ${known.join(', ')} on this system`));
  if (hasCudaProvider(binding)) await checkCuda(binding, add);
  try {
    const {
      device,
      why,
      warn: heed,
    } = await resolveDevice(setting, {
      ...(config.PGEMBEDDER_THREADS !== undefined && { threads: config.PGEMBEDDER_THREADS }),
    });
    const found = `${setting === 'auto' ? 'auto takes ' : ''}${why}${device.half ? ', with float16' : ''}`;
    if (heed) {
      add(warn('device', found, `Mend it, or have ${deviceName(device)} chosen by PGEMBEDDER_DEVICE`));
    } else add(ok('device', found));
    return device;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    add(fail('device', error.message, error.hint ?? null));
    return cpu;
  }
}

/** The CUDA libraries that lie beside the binding. */
async function checkCuda(binding: Binding, add: Report): Promise<void> {
  const found = await inspectCuda(binding);
  const trouble = cudaProblem(found);
  if (trouble) add(warn('cuda', trouble.problem, trouble.advice));
  else
    add(
      ok('cuda', `a provider of ${found.providerVersion ?? 'an unknown version'}, and all that it asks for`),
    );
}
