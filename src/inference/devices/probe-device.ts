import { fork } from 'node:child_process';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { packageRoot } from '../../package-root.ts';
import type { DeviceName } from './device.ts';
import { runtimeEnvironment } from './runtime-environment.ts';

/** What the process is asked to try. */
export interface ProbeRequest {
  readonly device: DeviceName;
  /** Threads of the CPU that it is measured against. */
  readonly threads: number;
  /** Whether to measure at all. */
  readonly measure: boolean;
}

/** What it found. */
export type ProbeReply = {
  /** The devices that ONNX Runtime knows on this system; none when the process did not get so far. */
  readonly known: readonly string[];
} & (
  | {
      readonly works: true;
      /** Whether it computes in float16. */
      readonly half: boolean;
      /** How many times faster than the CPU it runs matrix products in float32; null when that was not measured. */
      readonly speed: number | null;
    }
  | { readonly works: false; readonly reason: string }
);

export interface ProbeOptions extends ProbeRequest {
  /** The module that the process runs; tests give one with faults. */
  readonly entry?: string;
  /** Time after which a device counts as not working; in ms. */
  readonly limitMs?: number;
}

/** Shaders and CUDA's first start take some seconds on slow machines. */
const DEFAULT_LIMIT_MS = 60_000;

/**
 * Tries a device in a process of its own, since a driver that crashes takes its process along: makes a session, runs
 * matrix products on it and compares them with the CPU's. Never rejects.
 */
export function probeDevice({
  entry,
  limitMs = DEFAULT_LIMIT_MS,
  ...request
}: ProbeOptions): Promise<ProbeReply> {
  return new Promise((resolve) => {
    const child = fork(
      entry ?? join(packageRoot, 'dist', 'inference', 'devices', 'probe-process.js'),
      [JSON.stringify(request)],
      { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], execArgv: [], env: runtimeEnvironment() },
    );
    let reply: ProbeReply | undefined;
    let stderr = '';
    let late = false;
    child.on('message', (message) => {
      reply = message as ProbeReply;
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, limitMs);
    const settle = (ended: string) => {
      clearTimeout(timer);
      const outcome = reply ?? {
        known: [],
        works: false,
        reason: late ? `no answer within ${limitMs / 1_000} s` : ended,
      };
      resolve(outcome.works ? outcome : { ...outcome, reason: reasonOf(outcome.reason, stderr) });
    };
    child.once('error', (error) => settle(`its process cannot be started: ${error.message}`));
    child.once('close', (code, signal) =>
      settle(`its process ${signal ? `was ended by ${signal}` : `ended with exit code ${code}`}`),
    );
  });
}

/**
 * One line for what ONNX Runtime says over several: the message of an exception without the place in its sources, and
 * what only stderr says, the library that could not be loaded or what Vulkan lacks.
 */
export function reasonOf(message: string, stderr: string): string {
  const logged = stripVTControlCharacters(stderr);
  const library = /Failed to load library (\S+) with error: (.+)/.exec(logged);
  if (library) return `${library[1]} cannot be loaded: ${library[2]!.replace(`${library[1]}: `, '').trim()}`;
  const warning = /^Warning: (.+)$/m.exec(logged)?.[1];
  if (/No supported adapters/.test(message)) {
    return `no GPU with a driver for it was found${warning ? ` (${warning.replace(/[.!]$/, '')})` : ''}`;
  }
  const text = message.replace(/^.*was false\. /s, '').replace(/\/onnxruntime_src\/\S+ /g, '');
  return text.replace(/\s+/g, ' ').trim();
}
