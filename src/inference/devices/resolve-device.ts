import type { Logger } from 'pino';
import { DEVICE_CHOICES } from '../../config.ts';
import { UserError } from '../../errors.ts';
import { physicalCores } from './cores.ts';
import { type Binding, cudaProblem, findBinding, hasCudaProvider, inspectCuda } from './cuda-installation.ts';
import { cpu, type Device, type DeviceKind, type DeviceName, deviceName } from './device.ts';
import { mayHaveGraphics } from './graphics-nodes.ts';
import { parseDevice } from './parse-device.ts';
import { type ProbeReply, probeDevice } from './probe-device.ts';

/** The device to use, and why it is this one. */
export interface ResolvedDevice {
  readonly device: Device;
  /** One line. */
  readonly why: string;
  /** Whether somebody should know: a GPU is set up here and cannot be used. */
  readonly warn: boolean;
}

export interface ResolveOptions {
  /** Threads of the CPU that a GPU is measured against; by default one for each physical core. */
  readonly threads?: number;
  /** Stand-ins, for tests. */
  readonly probe?: typeof probeDevice;
  readonly binding?: Binding;
  readonly platform?: NodeJS.Platform;
  readonly graphics?: typeof mayHaveGraphics;
}

/** What `auto` tries, the best first. */
const CANDIDATES: Partial<Record<NodeJS.Platform, readonly DeviceKind[]>> = {
  darwin: ['webgpu', 'coreml'],
  win32: ['dml', 'webgpu'],
};
const OTHER_CANDIDATES: readonly DeviceKind[] = ['cuda', 'webgpu'];

/**
 * What a GPU has to give over the CPU for `auto` to take it. The two are measured in float32, and the CPU runs int8
 * 2.5 times faster than that (docs/decisions.md, Devices 1): a GPU that gains less would be a loss, and so would software
 * that plays one (SwiftShader: 0.2).
 */
const LEAST_SPEED = 3;

/**
 * The device that a setting stands for. 'auto' is the best that works and is worth it, and the CPU when none is; a
 * device that is named has to work.
 *
 * Each is tried in a process of its own: nothing is left behind in this one, whatever a driver does.
 *
 * @param setting as `--device` and PGEMBEDDER_DEVICE have it
 * @throws UserError when the setting names no device, or one that does not work here
 */
export async function resolveDevice(setting: string, options: ResolveOptions = {}): Promise<ResolvedDevice> {
  const asked = parseDevice(setting);
  if (!asked) throw new UserError(`There is no device '${setting}'`, { hint: `Choose ${DEVICE_CHOICES}` });
  if (asked === 'auto') return resolveAuto(options);
  if (asked.kind === 'cpu') return { device: cpu, why: 'cpu, as asked for', warn: false };
  const reply = await tryDevice(asked, false, options);
  if (reply.works) {
    return {
      device: { ...asked, half: reply.half, named: true },
      why: `${deviceName(asked)}, as asked for`,
      warn: false,
    };
  }
  const { problem, advice } = await explain(asked, reply, options);
  throw new UserError(`The device ${deviceName(asked)} does not work: ${problem}`, {
    hint: `${advice}; --device auto takes the CPU instead`,
  });
}

/** The same, and tells the log. What a command and a worker begin with. */
export async function chooseDevice(
  setting: string,
  { logger, ...options }: ResolveOptions & { logger: Logger },
): Promise<Device> {
  const { device, why, warn } = await resolveDevice(setting, options);
  logger[warn ? 'warn' : 'info']({ device: deviceName(device), float16: device.half }, `device: ${why}`);
  return device;
}

async function resolveAuto(options: ResolveOptions): Promise<ResolvedDevice> {
  const rejected: string[] = [];
  const binding = options.binding ?? findBinding();
  let warn = false;
  for (const kind of CANDIDATES[options.platform ?? process.platform] ?? OTHER_CANDIDATES) {
    const name = { kind, index: 0 };
    // Without its library there is nothing to try, and who has put it there wants to know why it is not used.
    if (kind === 'cuda' && !hasCudaProvider(binding)) {
      rejected.push('cuda is not installed');
      continue;
    }
    if (kind === 'webgpu' && !(options.graphics ?? mayHaveGraphics)()) {
      rejected.push('this machine shows no GPU to webgpu');
      continue;
    }
    const reply = await tryDevice(name, true, options);
    if (!reply.works) {
      rejected.push(`${kind} does not work: ${(await explain(name, reply, options)).problem}`);
      warn ||= kind === 'cuda';
    } else if (reply.speed !== null && reply.speed < LEAST_SPEED) {
      rejected.push(
        `${kind} runs a test at ${speedText(reply.speed)} the CPU's speed, too little to gain by it`,
      );
    } else {
      const why = `${kind}, which runs a test at ${speedText(reply.speed ?? 0)} the CPU's speed`;
      return {
        device: { ...name, half: reply.half, named: false },
        why: [why, ...rejected].join('; '),
        warn,
      };
    }
  }
  return { device: cpu, why: `cpu, since ${rejected.join('; ')}`, warn };
}

function speedText(speed: number): string {
  return `${speed.toPrecision(2)} times`;
}

function tryDevice(device: DeviceName, measure: boolean, options: ResolveOptions): Promise<ProbeReply> {
  const { probe = probeDevice, threads = physicalCores() } = options;
  return probe({ device, threads, measure });
}

/** What keeps a device from working, as exactly as it can be told, and what to do. */
async function explain(
  { kind }: DeviceName,
  { reason, known }: Extract<ProbeReply, { works: false }>,
  { binding = findBinding() }: ResolveOptions,
): Promise<{ problem: string; advice: string }> {
  if (known.length > 0 && !known.includes(kind)) {
    return { problem: reason, advice: `Choose one of ${known.join(', ')}` };
  }
  if (kind === 'cuda') {
    const found = cudaProblem(await inspectCuda(binding));
    return found ?? { problem: reason, advice: "Check NVIDIA's driver with nvidia-smi" };
  }
  const driver =
    process.platform === 'linux'
      ? 'Install libvulkan1 and the Vulkan driver of the GPU, and give a container the GPU'
      : 'Install the driver of the GPU';
  return { problem: reason, advice: driver };
}
