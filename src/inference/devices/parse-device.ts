import { DEVICE_PATTERN } from '../../config.ts';
import type { DeviceKind, DeviceName } from './device.ts';

/** The device a setting names, or 'auto'. Undefined when it names no device. */
export function parseDevice(setting: string): DeviceName | 'auto' | undefined {
  if (!DEVICE_PATTERN.test(setting)) return undefined;
  if (setting === 'auto') return 'auto';
  const [kind, index = '0'] = setting.split(':');
  return { kind: kind as DeviceKind, index: Number(index) };
}
