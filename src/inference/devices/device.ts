/** What runs sessions, by the name ONNX Runtime has for it. */
export const DEVICE_KINDS = ['cpu', 'cuda', 'webgpu', 'coreml', 'dml'] as const;
export type DeviceKind = (typeof DEVICE_KINDS)[number];

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
