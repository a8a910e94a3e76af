import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, describe, expect, it } from 'vitest';
import type { UserError } from '../../../../src/errors.ts';
import { cpu } from '../../../../src/inference/devices/device.ts';
import type { ProbeOptions, ProbeReply } from '../../../../src/inference/devices/probe-device.ts';
import { chooseDevice, resolveDevice } from '../../../../src/inference/devices/resolve-device.ts';

const known = ['cpu', 'webgpu', 'cuda'];
const broken = (reason: string): ProbeReply => ({ known, works: false, reason });
const working = (speed: number | null, half = true): ProbeReply => ({ known, works: true, half, speed });

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** A folder for the binding, with these files. */
function bindingWith(files: Record<string, string> = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'pgembedder-binding-'));
  folders.push(directory);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  return { directory, version: '1.30.0' };
}

const cudaFiles = {
  'libonnxruntime_providers_shared.so': '',
  'libonnxruntime_providers_cuda.so': 'ELF\0 1.2 \x001.30.0\0...',
};

/** Stands in for the probe: what each kind answers, and what was asked. */
function machine(answers: Partial<Record<string, ProbeReply>>, files: Record<string, string> = {}) {
  const asked: ProbeOptions[] = [];
  const probe = async (options: ProbeOptions) => {
    asked.push(options);
    return answers[options.device.kind] ?? broken('nobody expected this');
  };
  const binding = bindingWith(files);
  return { asked, options: { probe, binding, platform: 'linux' as const, threads: 4, graphics: () => true } };
}

async function errorOf(promise: Promise<unknown>): Promise<UserError> {
  return promise.then(
    () => {
      throw new Error('it was accepted');
    },
    (error) => error,
  );
}

describe('auto', () => {
  it('tries no webgpu where the machine shows no GPU, and says so', async () => {
    const { asked, options } = machine({ webgpu: working(20) });
    const { device, why } = await resolveDevice('auto', { ...options, graphics: () => false });
    expect(device).toBe(cpu);
    expect(why).toBe('cpu, since cuda is not installed; this machine shows no GPU to webgpu');
    expect(asked).toEqual([]);
  });

  it('takes CUDA first, measured against the threads of the CPU', async () => {
    const { asked, options } = machine({ cuda: working(40), webgpu: working(20) }, cudaFiles);
    const { device, why, warn } = await resolveDevice('auto', options);
    expect(device).toEqual({ kind: 'cuda', index: 0, half: true, named: false });
    expect(why).toBe("cuda, which runs a test at 40 times the CPU's speed");
    expect(warn).toBe(false);
    expect(asked).toEqual([{ device: { kind: 'cuda', index: 0 }, threads: 4, measure: true }]);
  });

  it('takes WebGPU where CUDA is not installed, and does not even try that', async () => {
    const { asked, options } = machine({ cuda: working(40), webgpu: working(20, false) });
    const { device, why, warn } = await resolveDevice('auto', options);
    expect(device).toEqual({ kind: 'webgpu', index: 0, half: false, named: false });
    expect(why).toBe("webgpu, which runs a test at 20 times the CPU's speed; cuda is not installed");
    expect(warn).toBe(false);
    expect(asked.map((each) => each.device.kind)).toEqual(['webgpu']);
  });

  it('takes the CPU where a GPU is played by the CPU, or hardly faster', async () => {
    for (const speed of [0.2, 2.9]) {
      const { options } = machine({ webgpu: working(speed) });
      const { device, why, warn } = await resolveDevice('auto', options);
      expect(device).toBe(cpu);
      expect(why).toMatch(
        /^cpu, since .*webgpu runs a test at (0\.20|2\.9) times the CPU's speed, too little/,
      );
      expect(warn).toBe(false);
    }
    const { options } = machine({ webgpu: working(3) });
    expect((await resolveDevice('auto', options)).device.kind).toBe('webgpu');
  });

  it('takes the CPU where nothing works, and does not warn where nothing was set up', async () => {
    const { options } = machine({ webgpu: broken('no GPU with a driver for it was found') });
    expect(await resolveDevice('auto', options)).toEqual({
      device: cpu,
      why: 'cpu, since cuda is not installed; webgpu does not work: no GPU with a driver for it was found',
      warn: false,
    });
  });

  it('warns where CUDA is set up and does not work', async () => {
    const { options } = machine(
      { cuda: broken('its process was ended by SIGSEGV'), webgpu: broken('none') },
      cudaFiles,
    );
    const { device, why, warn } = await resolveDevice('auto', options);
    expect(device).toBe(cpu);
    expect(why).toMatch(/^cpu, since cuda does not work: its process was ended by SIGSEGV; webgpu does not/);
    expect(warn).toBe(true);
  });

  it.each([
    ['darwin', ['webgpu', 'coreml']],
    ['win32', ['dml', 'webgpu']],
  ] as const)('tries on %s what is there', async (platform, kinds) => {
    const { asked, options } = machine({});
    await resolveDevice('auto', { ...options, platform });
    expect(asked.map((each) => each.device.kind)).toEqual(kinds);
  });
});

describe('a device that is named', () => {
  it('is taken when it works, however slow it is, and is not measured', async () => {
    const { asked, options } = machine({ webgpu: working(null, false) });
    const { device } = await resolveDevice('webgpu', options);
    expect(device).toEqual({ kind: 'webgpu', index: 0, half: false, named: true });
    expect(asked).toEqual([{ device: { kind: 'webgpu', index: 0 }, threads: 4, measure: false }]);
  });

  it('keeps its number', async () => {
    const { options } = machine({ cuda: working(null) });
    expect((await resolveDevice('cuda:1', options)).device).toEqual({
      kind: 'cuda',
      index: 1,
      half: true,
      named: true,
    });
  });

  it('is nothing to try when it is the CPU', async () => {
    const { asked, options } = machine({});
    expect((await resolveDevice('cpu', options)).device).toBe(cpu);
    expect(asked).toEqual([]);
  });

  it('is an error when it does not work, which says why and what to do', async () => {
    const { options } = machine({ webgpu: broken('no GPU') });
    const { line } = await errorOf(resolveDevice('webgpu', options));
    expect(line).toMatch(
      /^The device webgpu does not work: no GPU\. Install .*; --device auto takes the CPU instead$/,
    );
  });

  it('is an error that names the files of CUDA that are missing, and where', async () => {
    const { options } = machine({ cuda: broken('Failed to load shared library') });
    const { directory } = options.binding;
    const none = await errorOf(resolveDevice('cuda', options));
    expect(none.message).toBe(
      `The device cuda does not work: libonnxruntime_providers_shared.so and libonnxruntime_providers_cuda.so are not in ${directory}`,
    );
    expect(none.hint).toContain('ONNX Runtime 1.30.0');
    writeFileSync(
      join(directory, 'libonnxruntime_providers_cuda.so'),
      cudaFiles['libonnxruntime_providers_cuda.so'],
    );
    const one = await errorOf(resolveDevice('cuda', options));
    expect(one.message).toContain(`: libonnxruntime_providers_shared.so is not in ${directory}`);
  });

  it('is an error that says what this system has, when ONNX Runtime has it not', async () => {
    const { options } = machine({ coreml: broken('ONNX Runtime does not have it on this system') });
    const { line } = await errorOf(resolveDevice('coreml', options));
    expect(line).toContain('Choose one of cpu, webgpu, cuda;');
  });

  it('is an error when there is no such device', async () => {
    const { line } = await errorOf(resolveDevice('gpu'));
    expect(line).toMatch(/^There is no device 'gpu'\. Choose auto, cpu, cuda/);
  });
});

describe('the log', () => {
  it.each([
    ['info', {}],
    ['warn', cudaFiles],
  ] as const)('gets one line, of level %s', async (level, files) => {
    const lines: { level: number; msg: string }[] = [];
    const logger = pino({}, { write: (line: string) => lines.push(JSON.parse(line)) });
    const { options } = machine({}, files);
    expect(await chooseDevice('auto', { ...options, logger })).toBe(cpu);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ level: logger.levels.values[level], device: 'cpu' });
    expect(lines[0]!.msg).toMatch(/^device: cpu, since /);
  });
});
