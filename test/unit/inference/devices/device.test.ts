import { describe, expect, it } from 'vitest';
import { cpu, type Device, deviceFor, deviceName } from '../../../../src/inference/devices/device.ts';
import { parseDevice } from '../../../../src/inference/devices/parse-device.ts';
import { providerOf, sessionOptions } from '../../../../src/inference/devices/session-options.ts';
import { variantOrder } from '../../../../src/inference/devices/variant-order.ts';
import { CPU_VARIANTS } from '../../../../src/model-files/variants.ts';

const gpu: Device = { kind: 'cuda', index: 1, half: true, named: true };

describe('the name of a device', () => {
  it.each([
    ['cpu', { kind: 'cpu', index: 0 }],
    ['webgpu', { kind: 'webgpu', index: 0 }],
    ['cuda', { kind: 'cuda', index: 0 }],
    ['cuda:0', { kind: 'cuda', index: 0 }],
    ['cuda:12', { kind: 'cuda', index: 12 }],
    ['dml:1', { kind: 'dml', index: 1 }],
    ['coreml', { kind: 'coreml', index: 0 }],
  ] as const)('%s is understood, and written the same', (setting, device) => {
    expect(parseDevice(setting)).toEqual(device);
    expect(deviceName(device)).toBe(setting.replace(/:0$/, ''));
  });

  it('auto is not one device', () => {
    expect(parseDevice('auto')).toBe('auto');
  });

  it.each(['', 'gpu', 'CPU', 'cuda:', 'cuda:-1', 'cuda:x', 'webgpu:1', 'cpu:0', 'cuda:1 ', 'toString'])(
    '%j is none',
    (setting) => {
      expect(parseDevice(setting)).toBeUndefined();
    },
  );
});

describe('the variants of a model', () => {
  it('are int8 first on the CPU, float16 first on a GPU that has it, and float32 on one that has not', () => {
    expect(variantOrder(cpu)).toEqual(CPU_VARIANTS);
    expect(variantOrder(gpu).slice(0, 2)).toEqual(['fp16', 'fp32']);
    expect(variantOrder({ ...gpu, half: false })[0]).toBe('fp32');
    expect(variantOrder({ ...gpu, half: false })).not.toContain('fp16');
  });
});

describe('a file in int8', () => {
  it('stays on the CPU, unless the GPU was named', () => {
    expect(deviceFor({ int8: true }, { ...gpu, named: false })).toBe(cpu);
    expect(deviceFor({ int8: true }, gpu)).toBe(gpu);
    expect(deviceFor({ int8: false }, { ...gpu, named: false }).kind).toBe('cuda');
  });
});

describe('the options of a session', () => {
  const options = (device: Device) =>
    sessionOptions('/models/m/onnx/model.onnx', { device, threads: 3, spinning: false });

  it('keep to the CPU what is for the CPU', () => {
    expect(options(cpu).extra).toHaveProperty('optimization');
    expect(options(gpu).extra).not.toHaveProperty('optimization');
  });

  it('name the device, by its number where it has one', () => {
    expect(options(cpu).executionProviders).toEqual(['cpu']);
    expect(options(gpu).executionProviders).toEqual([{ name: 'cuda', deviceId: 1 }]);
    expect(providerOf({ kind: 'webgpu', index: 0 })).toBe('webgpu');
    expect(providerOf({ kind: 'dml', index: 0 })).toEqual({ name: 'dml', deviceId: 0 });
  });
});
