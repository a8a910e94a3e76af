import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import { limits } from '../../../limits.ts';
import { featureExtraction } from '../../../tasks/feature-extraction.ts';
import { textClassification } from '../../../tasks/text-classification.ts';
import { version } from '../../../version.ts';
import { HttpError } from '../http-error.ts';
import { promptOf } from '../inference.ts';
import { ClientGone, LIMITS } from '../line.ts';
import { BODY_REFUSALS, type Call, JsonText, type Route, route } from '../route.ts';
import { dimensions, inputs, inputsOf, inputTypeOf, listOf, promptName, texts } from '../schemas.ts';
import { asList, vectorsAsJson } from '../vectors-json.ts';

const truncate = z
  .boolean()
  .nullish()
  .describe("Whether a text longer than the model's limit is cut there; else it is refused. Default: true.");
const direction = z.enum(['right', 'Right']).nullish().describe('The side on which it is cut.');

const embedBody = z.object({
  inputs,
  truncate,
  truncation_direction: direction,
  prompt_name: promptName,
  normalize: z.boolean().nullish().describe('Whether vectors are scaled to length 1. Default: true.'),
  dimensions,
});

async function embed({ inference, signal }: Call, body: z.infer<typeof embedBody>): Promise<JsonText> {
  const { vectors } = await inference.embed({
    model: inference.models.find(null, featureExtraction.name),
    inputs: inputsOf(body.inputs),
    inputType: inputTypeOf(body.prompt_name),
    dimensions: body.dimensions ?? undefined,
    normalize: body.normalize ?? true,
    truncate: body.truncate ?? true,
    signal,
  });
  return new JsonText(await vectorsAsJson(vectors, asList));
}

const embedRoute = (path: string, description: string) =>
  route({
    method: 'post',
    path,
    summary: 'Vectors of texts',
    description,
    dialect: 'tei',
    body: embedBody,
    example: { inputs: ['how do I get my money back'], prompt_name: 'query' },
    answer: z.array(z.array(z.number())),
    refusals: BODY_REFUSALS,
    handle: embed,
  });

const embedSparse = route({
  method: 'post',
  path: '/embed_sparse',
  summary: 'Sparse vectors of texts',
  description:
    'The numbers that are not 0, each with its place, by place. The model has to be one that gives sparse vectors (SPLADE).',
  dialect: 'tei',
  body: z.object({
    inputs: texts,
    truncate,
    truncation_direction: direction,
    prompt_name: promptName,
  }),
  example: { inputs: ['how do I get my money back'] },
  answer: z.array(z.array(z.object({ index: z.int(), value: z.number() }))),
  refusals: BODY_REFUSALS,
  async handle({ inference, signal }, body) {
    const vectors = await inference.embedSparse({
      model: inference.models.find(null, featureExtraction.name),
      texts: listOf(body.inputs),
      inputType: inputTypeOf(body.prompt_name),
      truncate: body.truncate ?? true,
      signal,
    });
    return vectors.map(({ indices, values }) =>
      Array.from(indices, (index, place) => ({ index, value: values[place]! })),
    );
  },
});

const similarity = route({
  method: 'post',
  path: '/similarity',
  summary: 'How near sentences are to one, as cosines',
  dialect: 'tei',
  body: z.object({
    inputs: z.object({
      source_sentence: z.string().min(1).max(limits.textCharacters),
      sentences: z
        .array(z.string().min(1).max(limits.textCharacters))
        .min(1)
        .max(limits.textsPerCall - 1),
    }),
    parameters: z.object({ truncate, truncation_direction: direction, prompt_name: promptName }).nullish(),
  }),
  example: { inputs: { source_sentence: 'a cat', sentences: ['a kitten', 'a loan'] } },
  answer: z.array(z.number()),
  refusals: BODY_REFUSALS,
  async handle({ inference, signal }, { inputs: { source_sentence: source, sentences }, parameters }) {
    const { vectors } = await inference.embed({
      model: inference.models.find(null, featureExtraction.name),
      inputs: [source, ...sentences],
      inputType: inputTypeOf(parameters?.prompt_name),
      normalize: true,
      truncate: parameters?.truncate ?? true,
      signal,
    });
    const [first, ...others] = vectors;
    return others.map((other) => other.reduce((sum, each, place) => sum + each * first![place]!, 0));
  },
});

const predictions = z.array(z.object({ label: z.string(), score: z.number() }));

const predict = route({
  method: 'post',
  path: '/predict',
  summary: 'Labels of texts, the likeliest first',
  dialect: 'tei',
  body: z.object({
    inputs: z
      .union([
        texts,
        z
          .array(z.array(z.string().min(1)).min(1))
          .min(1)
          .max(limits.textsPerCall),
      ])
      .describe('A text, or a list of lists of one text each.'),
    raw_scores: z.literal(false).nullish().describe('Scores as the model gives them are not to be had.'),
    truncate,
    truncation_direction: direction,
  }),
  example: { inputs: 'You have won' },
  answer: z.union([predictions, z.array(predictions)]),
  refusals: BODY_REFUSALS,
  async handle({ inference, signal }, { inputs: given }) {
    const model = inference.models.find(null, textClassification.name);
    const single = typeof given === 'string' || typeof given[0] === 'string';
    const groups =
      typeof given === 'string' ? [[given]] : single ? [given as string[]] : (given as string[][]);
    if (groups.some((group) => group.length > 1)) {
      throw new HttpError(422, 'Pairs of texts are not classified: give each text in a list of its own', {
        param: 'inputs',
      });
    }
    const results = await inference.label({ model, texts: groups.flat(), options: {}, signal });
    const all = results.map(({ detail }) =>
      Object.entries(detail as Record<string, number>)
        .map(([label, score]) => ({ label, score }))
        .sort((a, b) => b.score - a.score),
    );
    return single ? all[0] : all;
  },
});

const token = z.object({
  id: z.int(),
  text: z.string(),
  special: z.boolean(),
  start: z.int().nullable(),
  stop: z.int().nullable(),
});

const tokenize = route({
  method: 'post',
  path: '/tokenize',
  summary: 'The tokens that the model reads of texts',
  dialect: 'tei',
  body: z.object({
    inputs: texts,
    add_special_tokens: z.boolean().nullish().describe('Default: true.'),
    prompt_name: promptName,
  }),
  example: { inputs: 'a small cat' },
  answer: z.array(z.array(token)),
  refusals: BODY_REFUSALS,
  async handle({ inference, signal }, body) {
    const model = inference.models.find(null, featureExtraction.name);
    const prompt = promptOf(model, inputTypeOf(body.prompt_name));
    const all = [];
    for (const text of listOf(body.inputs)) {
      if (signal.aborted) throw new ClientGone();
      all.push(inference.tokenize(model, prompt + text, body.add_special_tokens ?? true));
      await nextTurn();
    }
    return all;
  },
});

const info: Route = {
  method: 'get',
  path: '/info',
  summary: 'The model of these routes and its limits',
  dialect: 'tei',
  answer: z.looseObject({ model_id: z.string(), max_input_length: z.int(), version: z.string() }),
  refusals: [503],
  handle({ inference }) {
    const model = inference.models.find(null, featureExtraction.name);
    return {
      model_id: model.name,
      model_sha: null,
      model_dtype: 'variant' in model ? model.variant : null,
      model_type: {
        embedding: { pooling: model.sparse ? 'splade' : 'pooling' in model ? model.pooling : 'mean' },
      },
      // HTTP/1.1: a connection has one request at a time, unless its client pipelines.
      max_concurrent_requests: limits.httpConnections,
      max_input_length: model.maxTokens,
      max_batch_tokens: LIMITS.running,
      max_batch_requests: null,
      max_client_batch_size: limits.textsPerCall,
      auto_truncate: true,
      tokenization_workers: 1,
      version,
      sha: null,
      docker_label: null,
    };
  },
};

const health: Route = {
  method: 'get',
  path: '/health',
  summary: 'Whether requests are answered',
  dialect: 'tei',
  scope: null,
  answer: z.object({}),
  refusals: [503],
  handle({ inference }) {
    return inference.models.embedder && {};
  },
};

/** The routes of text-embeddings-inference, for its clients. They name no model: it is the one that is set for the task. */
export const teiRoutes: readonly Route[] = [
  embedRoute('/embed', 'As text-embeddings-inference has it.'),
  embedRoute('/', 'The same at the root, where the Hugging Face clients send it.'),
  embedSparse,
  similarity,
  predict,
  tokenize,
  info,
  health,
];
