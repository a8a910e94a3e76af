import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../../src/package-root.ts';

/**
 * Whether int8 products are exact here. The references of int8 files were made on such a processor; without VNNI, ONNX
 * Runtime takes kernels that round otherwise (see session-options.ts), and results lie a little further from them.
 */
export const hasVnni =
  !existsSync('/proc/cpuinfo') || /\bavx(512)?_vnni\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));

/** What the reference implementation gives for a text. */
export interface GoldenRow {
  text: string;
  ids: number[];
  vector: number[];
}

/** The reference's answers for a model; see `model` and `reference` in the file. */
export function goldenRows(name: 'minilm' | 'bge-small'): GoldenRow[] {
  return readRows(`feature-extraction.${name}`);
}

type Scores = Record<string, number>;

/** The reference's answers of the classification tasks, by the name of the file. */
export interface GoldenLabels {
  'text-classification.spam': { text: string; scores: Scores };
  'text-classification.multilabel': { text: string; sigmoid: Scores; softmax: Scores };
  'zero-shot-classification': {
    text: string;
    labels: string[];
    hypothesis_template: string;
    multi_label: boolean;
    result: { labels: string[]; scores: number[] };
  };
  'token-classification': {
    text: string;
    aggregation_strategy: string;
    entities: {
      entity?: string;
      entity_group?: string;
      score: number;
      word: string;
      start: number;
      end: number;
    }[];
  };
}

export function goldenLabels<Name extends keyof GoldenLabels>(name: Name): GoldenLabels[Name][] {
  return readRows(name);
}

function readRows<Row>(name: string): Row[] {
  return JSON.parse(readFileSync(join(packageRoot, 'test', 'fixtures', 'golden', `${name}.json`), 'utf8'))
    .rows;
}

/** Models that are too large to come with the package; tests that need them are left out where they are not there. */
export const extraModels = join(packageRoot, '..', 'shared', 'models');
export const hasExtraModels = existsSync(join(extraModels, 'Xenova'));

export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let dot = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    dot += a[index]! * b[index]!;
    squaresA += a[index]! ** 2;
    squaresB += b[index]! ** 2;
  }
  return dot / Math.sqrt(squaresA * squaresB);
}
