import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import type { Entity } from '../../src/tasks/results.ts';
import type { LabelTaskOptions } from '../../src/tasks/task-options.ts';

/** What the reference gives for a text. */
export interface MatrixRow {
  readonly text: string;
  readonly passage?: readonly number[];
  readonly query?: readonly number[];
  /** By call. */
  readonly scores?: readonly Readonly<Record<string, number>>[];
  readonly entities?: readonly (readonly Entity[])[];
}

/** What the reference gives for the texts of a model (test/fixtures/matrix/README.md). */
export interface MatrixCase {
  readonly name: string;
  readonly model: string;
  readonly variant?: 'fp16' | 'q8';
  readonly task: 'embed' | 'sparse' | 'classify' | 'zero-shot' | 'token' | 'rank';
  readonly expect?: string;
  /** Where it is not the usual one. */
  readonly tolerance?: number;
  readonly calls?: readonly LabelTaskOptions[];
  readonly rows: readonly MatrixRow[];
  /** Of a model that ranks: texts, and the scores of all of them for each query. */
  readonly texts?: readonly string[];
  readonly queries?: readonly {
    readonly query: string;
    readonly scores: readonly number[];
    readonly raw: readonly number[];
  }[];
}

/** The tiny models, unpacked once a test file, and their cases. */
export function unpackMatrix(): { directory: string; cases: MatrixCase[] } {
  const folder = mkdtempSync(join(tmpdir(), 'pgembedder-matrix-'));
  for (const part of ['models', 'golden']) {
    const packed = readFileSync(new URL(`../fixtures/matrix/${part}.tar.br`, import.meta.url));
    execFileSync('tar', ['-xf', '-', '-C', folder], { input: brotliDecompressSync(packed) });
  }
  const cases = readdirSync(join(folder, 'golden'))
    .sort()
    .map((file) => ({
      name: file.replace(/\.json$/, ''),
      ...(JSON.parse(readFileSync(join(folder, 'golden', file), 'utf8')) as Omit<MatrixCase, 'name'>),
    }));
  return { directory: join(folder, 'models'), cases };
}
