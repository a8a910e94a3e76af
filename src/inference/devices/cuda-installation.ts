import { execFile } from 'node:child_process';
import { createReadStream, existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

/** What CUDA needs beside onnxruntime-node's binding; its npm package leaves them out. */
const PROVIDER_FILES = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'] as const;

/** Where ONNX Runtime's binding lies, and which version it is. */
export interface Binding {
  readonly directory: string;
  readonly version: string;
}

/** What is there for CUDA, and what is not. */
export interface CudaInstallation extends Binding {
  readonly missingFiles: readonly string[];
  /** The ONNX Runtime that the provider library was made for; null where it does not say or is not there. */
  readonly providerVersion: string | null;
  /** Libraries that the provider library asks for and that this system's loader does not find. */
  readonly missingLibraries: readonly string[];
}

/** The binding for this system. @throws Error when onnxruntime-node is not installed. */
export function findBinding(): Binding {
  const packageFile = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
  const folder = join(dirname(packageFile), 'bin');
  const napi = readdirSync(folder).find((name) => name.startsWith('napi-')) ?? 'napi-v6';
  return {
    directory: join(folder, napi, process.platform, process.arch),
    version: JSON.parse(readFileSync(packageFile, 'utf8')).version,
  };
}

/** Whether somebody has put CUDA's provider library beside the binding: who did wants it. */
export function hasCudaProvider({ directory }: Binding): boolean {
  return existsSync(join(directory, PROVIDER_FILES[1]));
}

/** Looks at the files of CUDA's provider without loading them. Takes a second where the library is not cached. */
export async function inspectCuda(binding: Binding): Promise<CudaInstallation> {
  const missingFiles = PROVIDER_FILES.filter((name) => !existsSync(join(binding.directory, name)));
  const library = join(binding.directory, PROVIDER_FILES[1]);
  const there = hasCudaProvider(binding);
  return {
    ...binding,
    missingFiles,
    providerVersion: there ? await findVersion(library) : null,
    missingLibraries: there ? await librariesNotFound(library) : [],
  };
}

/** What is wrong and what to do about it, the first thing first; null when nothing is. */
export function cudaProblem(found: CudaInstallation): { problem: string; advice: string } | null {
  const { directory, version, missingFiles, providerVersion, missingLibraries } = found;
  if (missingFiles.length > 0) {
    return {
      problem: `${missingFiles.join(' and ')} ${missingFiles.length > 1 ? 'are' : 'is'} not in ${directory}`,
      advice: `Put the libraries of ONNX Runtime ${version} there, as docs/devices.md shows`,
    };
  }
  if (providerVersion !== null && providerVersion !== version) {
    return {
      problem: `${PROVIDER_FILES[1]} in ${directory} is of ONNX Runtime ${providerVersion}, and the binding is ${version}`,
      advice: `Put the libraries of ONNX Runtime ${version} there`,
    };
  }
  const driver = missingLibraries.includes('libcuda.so.1');
  const toolkit = missingLibraries.filter((name) => name !== 'libcuda.so.1');
  if (missingLibraries.length > 0) {
    const advice = [
      ...(toolkit.length > 0 ? ['Install the CUDA libraries or name their folders in LD_LIBRARY_PATH'] : []),
      ...(driver ? ["libcuda.so.1 comes with NVIDIA's driver: give a container the card (--gpus all)"] : []),
    ];
    return { problem: `the loader does not find ${missingLibraries.join(', ')}`, advice: advice.join('; ') };
  }
  return null;
}

/** The version that a library of ONNX Runtime holds as a string of its own, or null. */
async function findVersion(library: string): Promise<string | null> {
  let rest = '';
  for await (const chunk of createReadStream(library, { highWaterMark: 1 << 22 })) {
    const text = rest + (chunk as Buffer).toString('latin1');
    const found = /\0(1\.\d{1,3}\.\d{1,3})\0/.exec(text);
    if (found) return found[1]!;
    rest = text.slice(-16);
  }
  return null;
}

/** Asks the system's loader, through ldd. Where there is no ldd nothing is known to be missing. */
async function librariesNotFound(library: string): Promise<string[]> {
  try {
    const { stdout } = await promisify(execFile)('ldd', [library]);
    return [...stdout.matchAll(/^\s*(\S+) => not found$/gm)].map((match) => match[1]!);
  } catch {
    return [];
  }
}
