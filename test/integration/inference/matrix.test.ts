import { afterAll, expect, it } from 'vitest';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { Embedder } from '../../../src/inference/embedder.ts';
import { Engine } from '../../../src/inference/engine/engine.ts';
import type { LabelModel, LogitsModel, VectorModel } from '../../../src/model-files/description.ts';
import { createModelStore } from '../../../src/models/store.ts';
import type { Entity, LabelResult } from '../../../src/tasks/results.ts';
import { checkTaskOptions } from '../../../src/tasks/task-options.ts';
import type { TaskName } from '../../../src/tasks/tasks.ts';
import { type MatrixCase, unpackMatrix } from '../../support/matrix.ts';
import { cosine, silent } from '../../support/pgembedder.ts';
import { hasVnni } from '../../unit/inference/golden.ts';

const { directory, cases } = unpackMatrix();
const store = createModelStore({ directories: [directory] });
const engine = new Engine({ logger: silent, engines: 1, threads: 1 });
const embedder = new Embedder({ engine });
afterAll(() => engine.stop());

const TASKS: Partial<Record<MatrixCase['task'], TaskName>> = {
  embed: 'feature-extraction',
  sparse: 'feature-extraction',
  'zero-shot': 'zero-shot-classification',
  rank: 'text-ranking',
};

it.each(cases)('$name is as its reference has it, or refused by its name', async (given) => {
  const refusal = /^refused: (.*)$/.exec(given.expect ?? '')?.[1];
  const found = await problems(given).catch((error: Error) => {
    if (refusal === undefined) throw error;
    return error.message.match(new RegExp(refusal, 'i')) ? [] : [error.message];
  });
  expect(found).toEqual([]);
});

/** What is not as the reference has it, in a line each. */
async function problems(given: MatrixCase): Promise<string[]> {
  const { variant } = given;
  const task = TASKS[given.task];
  const model = task
    ? store.find(given.model, task, { variant })
    : store.find(given.model, task, { variant });
  if (given.task === 'sparse') return sparseProblems(given, model as VectorModel);
  if (given.task === 'rank') return scoreProblems(given, model as LogitsModel);
  return given.task === 'embed'
    ? vectorProblems(given, model as VectorModel)
    : labelProblems(given, model as LabelModel);
}

async function vectorProblems(given: MatrixCase, model: VectorModel): Promise<string[]> {
  // Without VNNI, int8 products saturate (docs/engine.md).
  const least = given.variant === 'q8' && !hasVnni ? 0.99 : (given.tolerance ?? 0.9999);
  const found: string[] = [];
  for (const role of ['passage', 'query'] as const) {
    const rows = given.rows.filter((row) => row[role]);
    // Dynamic int8 scales by the largest number of a batch: the reference has one text a run.
    const calls = given.variant === 'q8' ? rows.map((row) => [row]) : [rows];
    const options = { prompt: model.prompts[role] };
    for (const call of calls) {
      const texts = call.map(({ text }) => text);
      for (const [place, result] of (await embedder.embedTexts(model, texts, options)).entries()) {
        if (result instanceof EngineError) throw result;
        const wanted = Float32Array.from(call[place]![role]!);
        const lengths = Math.hypot(...result) / Math.hypot(...wanted);
        if (cosine(result, wanted) > least && Math.abs(lengths - 1) < (least < 0.9999 ? 0.01 : 1e-3))
          continue;
        found.push(
          `${role} ${texts[place]}: cosine ${cosine(result, wanted)}, length ${lengths} of the reference's`,
        );
      }
    }
  }
  return found;
}

/** All texts in one call, so that rows are padded; and no number is there that is not above 0. */
async function sparseProblems({ rows }: MatrixCase, model: VectorModel): Promise<string[]> {
  const texts = rows.map(({ text }) => text);
  const results = await embedder.embedSparse(model, texts);
  return results.flatMap((result, place) => {
    if (result instanceof EngineError) throw result;
    const wanted = rows[place]!.passage!;
    const found = new Array<number>(result.dimensions).fill(0);
    for (const [number, index] of result.indices.entries()) found[index] = result.values[number]!;
    const off = Math.max(...found.map((value, index) => Math.abs(value - wanted[index]!)));
    return off < 1e-4 && result.values.every((value) => value > 0) && found.length === wanted.length
      ? []
      : [`${texts[place]}: ${off} off`];
  });
}

/** In one call, so that pairs of all lengths are in the batches. */
async function scoreProblems(
  { texts = [], queries = [] }: MatrixCase,
  model: LogitsModel,
): Promise<string[]> {
  const found: string[] = [];
  for (const { query, scores, raw } of queries)
    for (const [raw_scores, wanted] of [
      [false, scores],
      [true, raw],
    ] as const)
      for (const [place, result] of (
        await embedder.rankTexts(model, query, texts, { raw_scores })
      ).entries()) {
        if (result instanceof EngineError) throw result;
        if (Math.abs(result - wanted[place]!) > 1e-4)
          found.push(`${query} | ${texts[place]}: ${result} and not ${wanted[place]}`);
      }
  return found;
}

async function labelProblems({ calls = [{}], rows }: MatrixCase, model: LabelModel): Promise<string[]> {
  const texts = rows.map(({ text }) => text);
  const found: string[] = [];
  for (const [number, call] of calls.entries()) {
    const results = await embedder.labelTexts(model, texts, checkTaskOptions(model.task, call));
    for (const [place, result] of results.entries()) {
      if (result instanceof EngineError) throw result;
      const { text, scores, entities } = rows[place]!;
      const good = entities
        ? sameEntities(text, result.detail as Entity[], entities[number]!)
        : sameScores(result, scores![number]!);
      if (!good) found.push(`${JSON.stringify(call)} ${text}: ${JSON.stringify(result.detail)}`);
    }
  }
  return found;
}

const TOLERANCE = 1e-4;

function sameScores({ detail }: LabelResult, wanted: Readonly<Record<string, number>>): boolean {
  const scores = detail as Record<string, number>;
  return Object.entries(wanted).every(([label, score]) => Math.abs(scores[label]! - score) <= TOLERANCE);
}

function sameEntities(text: string, found: readonly Entity[], wanted: readonly Entity[]): boolean {
  const scores = found.every(
    ({ score }, place) => Math.abs(score - (wanted[place]?.score ?? 9)) <= TOLERANCE,
  );
  const shown = (entities: readonly Entity[]) =>
    JSON.stringify(entities.map((entity) => comparable(text, entity)));
  return scores && shown(found) === shown(wanted);
}

/** A combining mark behind a place counts as part of it (the reference leaves it out), and marks are not compared. */
function comparable(text: string, entity: Entity) {
  const characters = Array.from(text);
  let { end } = entity;
  while (/^\p{M}/u.test(characters[end] ?? '')) end++;
  const word = entity.word.normalize('NFD').replaceAll(/\p{M}/gu, '');
  return ['entity' in entity ? entity.entity : entity.entity_group, entity.start, end, word];
}
