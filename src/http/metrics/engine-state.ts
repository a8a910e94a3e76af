import type { Served } from '../served.ts';
import type { Instruments } from './instruments.ts';

/** Sets the metrics of sessions and of the engine's memory. */
export function collectEngineState({ sessions }: Pick<Served, 'sessions'>, instruments: Instruments): void {
  const up = sessions.filter(({ state }) => state !== 'unloaded');
  instruments.engineProcesses.set(up.reduce((sum, { pids }) => sum + pids.length, 0));
  instruments.engineMemory.set(up.reduce((sum, { residentBytes }) => sum + residentBytes, 0));
  instruments.sessions.reset();
  for (const { model, device, state } of up) instruments.sessions.inc({ model, device, state });
}
