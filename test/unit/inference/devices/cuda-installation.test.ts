import { appendFileSync, cpSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type CudaInstallation,
  cudaProblem,
  findBinding,
  hasCudaProvider,
  inspectCuda,
} from '../../../../src/inference/devices/cuda-installation.ts';
import { packageRoot } from '../../../../src/package-root.ts';

const shared = 'libonnxruntime_providers_shared.so';
const cuda = 'libonnxruntime_providers_cuda.so';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pgembedder-cuda-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

it('the binding of this system is found, with its version', () => {
  const { directory: folder, version } = findBinding();
  expect(existsSync(join(folder, 'onnxruntime_binding.node'))).toBe(true);
  expect(version).toMatch(/^1\.\d+\.\d+$/);
});

describe('what is beside the binding', () => {
  it('may be nothing', async () => {
    const binding = { directory, version: '1.30.0' };
    expect(hasCudaProvider(binding)).toBe(false);
    expect(await inspectCuda(binding)).toEqual({
      ...binding,
      missingFiles: [shared, cuda],
      providerVersion: null,
      missingLibraries: [],
    });
  });

  // ldd reads libraries of its own kind of machine only.
  it.skipIf(process.platform !== 'linux' || process.arch !== 'x64')(
    'is looked at: its version, and what the loader does not find',
    async () => {
      writeFileSync(join(directory, shared), '');
      cpSync(join(packageRoot, 'test', 'fixtures', 'libraries', 'libneeds.so'), join(directory, cuda));
      const binding = { directory, version: '1.30.0' };
      expect(await inspectCuda(binding)).toEqual({
        ...binding,
        missingFiles: [],
        providerVersion: null,
        missingLibraries: ['libpgembedder_absent.so.13', 'libpgembedder_alsoabsent.so.9'],
      });
      // Across the border of two pieces in which the file is read, of 4 MiB each.
      const library = join(directory, cuda);
      appendFileSync(library, Buffer.alloc((1 << 22) - statSync(library).size - 3));
      appendFileSync(library, '\x001.29.1\0cudaSetDevice');
      expect((await inspectCuda(binding)).providerVersion).toBe('1.29.1');
    },
  );
});

describe('what is wrong with CUDA', () => {
  const whole: CudaInstallation = {
    directory: '/bin',
    version: '1.30.0',
    missingFiles: [],
    providerVersion: '1.30.0',
    missingLibraries: [],
  };

  it('is nothing where all is there', () => {
    expect(cudaProblem(whole)).toBeNull();
    expect(cudaProblem({ ...whole, providerVersion: null })).toBeNull();
  });

  it('is a file, then its version, then a library', () => {
    const worst = {
      ...whole,
      missingFiles: [shared],
      providerVersion: '1.29.1',
      missingLibraries: ['libcublas.so.13'],
    };
    expect(cudaProblem(worst)!.problem).toBe(`${shared} is not in /bin`);
    expect(cudaProblem({ ...worst, missingFiles: [] })!.problem).toBe(
      `${cuda} in /bin is of ONNX Runtime 1.29.1, and the binding is 1.30.0`,
    );
    expect(cudaProblem({ ...whole, missingLibraries: ['libcublas.so.13', 'libcudart.so.13'] })).toEqual({
      problem: 'the loader does not find libcublas.so.13, libcudart.so.13',
      advice: 'Install the CUDA libraries or name their folders in LD_LIBRARY_PATH',
    });
  });

  it('is a container without the card, when only the driver is missing', () => {
    const { advice } = cudaProblem({ ...whole, missingLibraries: ['libcuda.so.1'] })!;
    expect(advice).toBe("libcuda.so.1 comes with NVIDIA's driver: give a container the card (--gpus all)");
  });
});
