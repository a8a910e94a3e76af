import type { Device } from './device.ts';

/** How a session is run. */
export interface RunSettings {
  /** What it runs on. */
  readonly device: Device;
  /** Threads a run uses. */
  readonly threads: number;
  /** Whether they wait for the next operator by spinning instead of sleeping. */
  readonly spinning: boolean;
}
