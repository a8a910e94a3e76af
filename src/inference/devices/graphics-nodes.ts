import { existsSync } from 'node:fs';

/** Where the Linux kernel shows a GPU: to Mesa's drivers, to NVIDIA's, and in WSL. */
const NODES = ['/dev/dri', '/dev/nvidiactl', '/dev/dxg'];

/** By these the Vulkan loader is told of drivers: software ones need no GPU. */
const DRIVERS = ['VK_DRIVER_FILES', 'VK_ADD_DRIVER_FILES', 'VK_ICD_FILENAMES'];

/**
 * Whether there may be a GPU for Vulkan. Where there can be none nothing has to be tried, which takes a third of a
 * second of a worker's start. Systems other than Linux always have something.
 */
export function mayHaveGraphics(): boolean {
  return (
    process.platform !== 'linux' ||
    NODES.some((node) => existsSync(node)) ||
    DRIVERS.some((name) => process.env[name])
  );
}
