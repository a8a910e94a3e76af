import { messageOf } from '../../errors.ts';
import { type Device, deviceName } from './device.ts';

/**
 * Called by the engine process after a run that failed. A GPU that was reset, taken away or suspended fails every
 * run from then on, and only a new process gets it back: so when it fails the least of runs as well, the process
 * ends, and the client starts another.
 * @param least runs the smallest batch there is
 */
export async function endIfLost(device: Device, least: () => Promise<unknown>): Promise<void> {
  if (device.kind === 'cpu') return;
  try {
    await least();
  } catch (error) {
    console.error(`the device ${deviceName(device)} was lost: ${messageOf(error).replaceAll('\n', ' ')}`);
    process.exit(1);
  }
}
