import { once } from 'node:events';
import { cpSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Logger, pino } from 'pino';
import { onTestFinished } from 'vitest';
import { Engine, type EngineOptions } from '../../../src/inference/engine/engine.ts';
import type { EngineEvents } from '../../../src/inference/engine/engine-events.ts';
import { bundledModelsDirectory } from '../../../src/models/catalog.ts';
import { packageRoot } from '../../../src/package-root.ts';

/** Token ids that set off the faults of test/fixtures/engines/faulty.mjs. */
export const exits = 2001;
export const hangs = 2002;
export const refuses = 2003;
/** Takes half a second. */
export const naps = 2005;
/** There is not enough memory for more than two tokens with this one among them. */
export const fills = 2004;

/** An engine of the built process (or of one with faults) that is stopped when the test ends, and what it logged. */
export function startEngine(options: Partial<EngineOptions> = {}): { engine: Engine; log: string[] } {
  const log: string[] = [];
  const logger: Logger = pino({ level: 'trace' }, { write: (line: string) => log.push(line) });
  const engine = new Engine({ logger, ...options });
  onTestFinished(() => engine.stop(0));
  return { engine, log };
}

/** Path of an engine process with faults. */
export function faultyEntry(name: 'faulty' | 'unable'): string {
  return join(packageRoot, 'test', 'fixtures', 'engines', `${name}.mjs`);
}

/** What the next event of this name carries. */
export async function next<Name extends keyof EngineEvents>(
  engine: Engine,
  name: Name,
): Promise<EngineEvents[Name][0]> {
  const [event] = await once(engine, name);
  return event;
}

/** A models folder of its own with a copy of the bundled model; returns the folder and the model's. */
export function copyOfBundledModel(): { folder: string; directory: string } {
  const folder = mkdtempSync(join(tmpdir(), 'pgembedder-models-'));
  const directory = join(folder, 'pgembedder', 'all-MiniLM-L6-v2');
  cpSync(join(bundledModelsDirectory, 'pgembedder', 'all-MiniLM-L6-v2'), directory, { recursive: true });
  return { folder, directory };
}

/** A row of [CLS], these tokens and [SEP]. */
export function row(...ids: number[]): Int32Array {
  return Int32Array.of(101, ...ids, 102);
}
