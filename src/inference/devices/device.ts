import { devicePattern } from '../../config.ts';

/** What runs sessions, by the name ONNX Runtime has for it. */
export type DeviceKind = 'cpu' | 'cuda' | 'webgpu' | 'coreml' | 'dml';

/** One device of this machine. Plain data, so that it can be sent to the engine process. */
export interface Device {
  readonly kind: DeviceKind;
  /** Which of several; only `cuda` and `dml` have more than the first, 0. */
  readonly index: number;
  /** Whether it runs models in float16; never so on the CPU, where float16 is only slower. */
  readonly half: boolean;
}

export const cpu: Device = { kind: 'cpu', index: 0, half: false };

/** A device that was asked for by name; whether it works is not known yet. */
export type DeviceName = Omit<Device, 'half'>;

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

/** The precisions of a model's weights that this package chooses from. */
export type DeviceVariant = 'q8' | 'fp16' | 'fp32';

/**
 * The variants of a model in the order in which they suit a device. int8 is the fastest on a CPU (docs/decisions.md)
 * and has few kernels on a GPU, where float16 halves memory and time of float32.
 */
export function variantOrder({ kind, half }: Device): readonly DeviceVariant[] {
  if (kind === 'cpu') return ['q8', 'fp32', 'fp16'];
  return half ? ['fp16', 'fp32', 'q8'] : ['fp32', 'q8'];
}
