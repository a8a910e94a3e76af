import { devicePattern } from '../../config.ts';
import { cpuVariants, type Variant } from '../../models/variants.ts';

/** What runs sessions, by the name ONNX Runtime has for it. */
export type DeviceKind = 'cpu' | 'cuda' | 'webgpu' | 'coreml' | 'dml';

/** One device of this machine. Plain data, so that it can be sent to the engine process. */
export interface Device {
  readonly kind: DeviceKind;
  /** Which of several; only `cuda` and `dml` have more than the first, 0. */
  readonly index: number;
  /** Whether it runs models in float16; never so on the CPU, where float16 is only slower. */
  readonly half: boolean;
  /** Whether somebody named it. One that `auto` chose leaves to the CPU what the CPU does better. */
  readonly named: boolean;
}

export const cpu: Device = { kind: 'cpu', index: 0, half: false, named: false };

/** A device that was asked for by name; whether it works is not known yet. */
export type DeviceName = Pick<Device, 'kind' | 'index'>;

/** The device a setting names, or 'auto'. Undefined when it names none. */
export function parseDevice(setting: string): DeviceName | 'auto' | undefined {
  if (!devicePattern.test(setting)) return undefined;
  if (setting === 'auto') return 'auto';
  const [kind, index = '0'] = setting.split(':');
  return { kind: kind as DeviceKind, index: Number(index) };
}

/** The name of a device as a setting has it: `cuda:1`, and without a number for the first. */
export function deviceName({ kind, index }: DeviceName): string {
  return index === 0 ? kind : `${kind}:${index}`;
}

/**
 * The device that runs a file: no GPU has kernels for dynamic int8, so its products stay on the CPU and their inputs and
 * outputs are carried to and fro (WebGPU, the bundled model: 65 nodes and 100 copies in each run).
 */
export function deviceFor(file: { readonly int8: boolean }, device: Device): Device {
  return file.int8 && !device.named ? cpu : device;
}

/**
 * The variants of a model in the order in which they suit a device. int8 is the fastest on a CPU (docs/decisions.md)
 * and has few kernels on a GPU, where float16 halves memory and time of float32.
 */
export function variantOrder({ kind, half }: Device): readonly Variant[] {
  if (kind === 'cpu') return cpuVariants;
  return half ? ['fp16', 'fp32', 'q4f16', 'q4', 'q8', 'bnb4'] : ['fp32', 'q4', 'q8', 'bnb4'];
}
