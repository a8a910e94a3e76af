import { z } from 'zod';
import { limits } from '../../../limits.ts';
import { AGGREGATION_STRATEGIES } from '../../../tasks/entities.ts';
import { topK } from '../../../tasks/option-values.ts';
import type { LabelResult } from '../../../tasks/results.ts';
import type { TaskGiving } from '../../../tasks/tasks.ts';
import { textClassification } from '../../../tasks/text-classification.ts';
import { tokenClassification } from '../../../tasks/token-classification.ts';
import { zeroShotClassification } from '../../../tasks/zero-shot-classification.ts';
import { BODY_REFUSALS, type Call, type Route, route } from '../route.ts';
import { listOf, model, texts } from '../schemas.ts';

const detailSize = topK
  .unwrap()
  .nullish()
  .describe('How many labels `detail` has, the best first. Default: all.');
const multiLabel = z
  .boolean()
  .nullish()
  .describe('Several labels may hold at once: each has a score of its own.');

const labelled = z.object({
  object: z.literal('list'),
  model: z.string(),
  data: z.array(
    z.object({
      index: z.int(),
      label: z.string().describe('The label with the highest score.'),
      score: z.number(),
      detail: z.record(z.string(), z.number()).describe('The scores by label.'),
    }),
  ),
});

const entity = z.object({
  entity: z.string().optional().describe('With aggregation_strategy none: the label of one token.'),
  entity_group: z.string().optional(),
  score: z.number(),
  word: z.string(),
  start: z.int().describe('In Unicode code points, from `start` to before `end`.'),
  end: z.int(),
});

const classify = route({
  method: 'post',
  path: '/v1/classify',
  summary: 'Labels of texts, by a model that classifies them',
  dialect: 'openai',
  body: z.object({ model, input: texts, top_k: detailSize, multi_label: multiLabel }),
  example: { model: 'pgembedder/minilm-spam-detector', input: 'You have won' },
  answer: labelled,
  refusals: BODY_REFUSALS,
  handle: (call, { model, input, ...options }) =>
    label(call, { name: model, task: textClassification.name, input, options }),
});

const zeroShot = route({
  method: 'post',
  path: '/v1/zero-shot',
  summary: 'Which of your labels fit texts, by a model for zero-shot labels or one that gives vectors',
  dialect: 'openai',
  body: z.object({
    model,
    input: texts,
    labels: z
      .array(z.string().min(1).max(limits.labelCharacters))
      .min(1)
      .max(limits.labels)
      .meta({ uniqueItems: true }),
    hypothesis_template: z
      .string()
      .max(limits.templateCharacters)
      .regex(/\{\}/, 'it needs {} where the label goes')
      .nullish()
      .describe('The sentence that is tried for each label, which takes the place of {}.'),
    multi_label: multiLabel,
    top_k: detailSize,
  }),
  example: {
    model: 'all-MiniLM-L6-v2',
    input: 'the match ended in a draw',
    labels: ['sport', 'politics'],
  },
  answer: labelled,
  refusals: BODY_REFUSALS,
  handle: (call, { model, input, ...options }) =>
    label(call, { name: model, task: zeroShotClassification.name, input, options }),
});

const tokens = route({
  method: 'post',
  path: '/v1/tokens',
  summary: 'Entities in texts, by a model that labels tokens',
  dialect: 'openai',
  body: z.object({
    model,
    input: texts,
    aggregation_strategy: z.enum(AGGREGATION_STRATEGIES).nullish(),
  }),
  example: { model: 'ORG/NAME', input: 'Ada Lovelace lived in London' },
  answer: z.object({
    object: z.literal('list'),
    model: z.string(),
    data: z.array(z.object({ index: z.int(), detail: z.array(entity) })),
  }),
  refusals: BODY_REFUSALS,
  handle: (call, { model, input, ...options }) =>
    label(call, { name: model, task: tokenClassification.name, input, options }),
});

interface LabelCall {
  readonly name: string | null | undefined;
  readonly task: TaskGiving<'labels' | 'spans'>;
  readonly input: string | string[];
  readonly options: Readonly<Record<string, unknown>>;
}

async function label({ inference, signal }: Call, { name, task, input, options }: LabelCall) {
  const model = inference.models.find(name, task);
  const given = Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined && value !== null),
  );
  const results = await inference.label({ model, texts: listOf(input), options: given, signal });
  return { object: 'list', model: name ?? model.name, data: results.map(asData) };
}

function asData({ label, score, detail }: LabelResult, index: number) {
  return label === null ? { index, detail } : { index, label, score, detail };
}

export const labelRoutes: readonly Route[] = [classify, zeroShot, tokens];
