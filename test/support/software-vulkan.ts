import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { messageOf } from '../../src/errors.ts';

const INSTALL_SCRIPT = fileURLToPath(new URL('./install-swiftshader.sh', import.meta.url));
const FOLDER = '/var/lib/pgembedder-test/swiftshader';
const FILE = 'vk_swiftshader_icd.json';

/**
 * Has Vulkan played by the CPU in this process and those it starts: then the WebGPU provider runs without a GPU.
 * Installs SwiftShader first where it must and may (root on Debian).
 * @returns whether it is there; if not, says why
 */
export async function useSoftwareVulkan(): Promise<boolean> {
  const path = process.env.TEST_VULKAN_DRIVER ?? (await install()) ?? fromChromium();
  if (path === null) {
    console.log(
      '[vulkan] no software Vulkan: WebGPU is not tested. TEST_VULKAN_DRIVER names one (its JSON file)',
    );
    return false;
  }
  // The loader's name for it since 1.3.207, and the one before.
  process.env.VK_DRIVER_FILES = path;
  process.env.VK_ICD_FILENAMES = path;
  return true;
}

/** The script returns at once when everything is there. */
async function install(): Promise<string | null> {
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) return null;
  try {
    await promisify(execFile)('bash', [INSTALL_SCRIPT, FOLDER]);
    return join(FOLDER, FILE);
  } catch (error) {
    console.log(`[vulkan] SwiftShader cannot be installed: ${messageOf(error)}`);
    return null;
  }
}

function fromChromium(): string | null {
  const path = join('/usr/lib/chromium', FILE);
  return existsSync(path) ? path : null;
}
