import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { DeviceKind } from '../../../../src/inference/devices/device.ts';
import { probeDevice, reasonOf } from '../../../../src/inference/devices/probe-device.ts';
import { packageRoot } from '../../../../src/package-root.ts';

const probe = (kind: DeviceKind, measure = false) =>
  probeDevice({ device: { kind, index: 0 }, threads: 1, measure });

describe('a probe', () => {
  it('finds that the CPU works, that it is itself, and what else there is', async () => {
    const reply = await probe('cpu', true);
    expect(reply).toMatchObject({ works: true, known: expect.arrayContaining(['cpu', 'webgpu']) });
    expect(reply.works && reply.speed).toBeGreaterThan(0);
  });

  it('says that a device is not of this system', async () => {
    const foreign = process.platform === 'win32' ? 'coreml' : 'dml';
    expect(await probe(foreign)).toMatchObject({
      works: false,
      reason: 'ONNX Runtime does not have it on this system',
    });
  });

  const faulty = (kind: DeviceKind, limitMs?: number) =>
    probeDevice({
      device: { kind, index: 0 },
      threads: 1,
      measure: false,
      entry: join(packageRoot, 'test', 'fixtures', 'engines', 'probes.mjs'),
      ...(limitMs !== undefined && { limitMs }),
    });

  it('outlives a driver that crashes', async () => {
    expect(await faulty('cuda')).toEqual({
      known: [],
      works: false,
      reason: 'its process was ended by SIGSEGV',
    });
    expect(await faulty('coreml')).toMatchObject({ reason: 'its process ended with exit code 3' });
  });

  it('does not wait for ever', async () => {
    expect(await faulty('dml', 500)).toEqual({ known: [], works: false, reason: 'no answer within 0.5 s' });
  });

  it('takes a device for good that crashes in float16 only', async () => {
    expect(await faulty('webgpu')).toMatchObject({ works: true, half: false });
  });
});

describe('what ONNX Runtime says', () => {
  it('is brought to the point', () => {
    const message =
      '/onnxruntime_src/onnxruntime/core/providers/webgpu/webgpu_context.cc:136 onnxruntime::webgpu::WebGpuContext::Initialize(const onnxruntime::webgpu::WebGpuContextConfig&)::<lambda()> adapter_result.status == wgpu::RequestAdapterStatus::Success was false. Failed to get a WebGPU device: out of\nmemory\n';
    expect(reasonOf(message, '')).toBe('Failed to get a WebGPU device: out of memory');
  });

  it('is filled up with the library that cannot be loaded, which only the log names', () => {
    const log =
      '\u001b[1;31m2026-11-21 15:45:39 [E:onnxruntime:onnxruntime-node, provider_bridge_ort.cc:2146 Create] FAIL : Failed to load library /x/libonnxruntime_providers_cuda.so with error: /x/libonnxruntime_providers_cuda.so: undefined symbol: cuTensorMapEncodeTiled\n\u001b[m\n';
    expect(
      reasonOf('OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library', log),
    ).toBe('/x/libonnxruntime_providers_cuda.so cannot be loaded: undefined symbol: cuTensorMapEncodeTiled');
  });

  it('is filled up with what Vulkan lacks', () => {
    const message = 'Failed to get a WebGPU adapter: No supported adapters';
    expect(reasonOf(message, "Warning: Couldn't load Vulkan: libvulkan.so.1: gone\n    at x\n")).toBe(
      "no GPU with a driver for it was found (Couldn't load Vulkan: libvulkan.so.1: gone)",
    );
    expect(reasonOf(message, '')).toBe('no GPU with a driver for it was found');
  });
});
