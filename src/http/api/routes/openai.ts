import { z } from 'zod';
import { featureExtraction } from '../../../tasks/feature-extraction.ts';
import { type ListedModel, modelNotFound } from '../models.ts';
import { BODY_REFUSALS, JsonText, type Route, route } from '../route.ts';
import { dimensions, inputs, inputsOf, inputTypeOf, model, promptName } from '../schemas.ts';
import { asBase64, asList, vectorsAsJson } from '../vectors-json.ts';

const embedding = z.object({
  object: z.literal('embedding'),
  index: z.int(),
  embedding: z
    .union([z.array(z.number()), z.string()])
    .describe('The vector; in base64 its float32 numbers.'),
});

const listedModel = z.object({
  id: z.string(),
  object: z.literal('model'),
  created: z.int(),
  owned_by: z.string(),
  task: z.string().nullable().describe('What it is for.'),
  variants: z.array(z.string()).describe('Those that are here, the one that is used by default first.'),
});

const embeddings = route({
  method: 'post',
  path: '/v1/embeddings',
  summary: 'Vectors of texts',
  description:
    "As OpenAI has it, with `input_type` (or `prompt_name`) for the model's prompts. A text longer than the model's limit is cut there.",
  dialect: 'openai',
  body: z.object({
    model,
    input: inputs,
    dimensions,
    encoding_format: z.enum(['float', 'base64']).nullish().describe('Default: float.'),
    input_type: promptName,
    prompt_name: promptName,
    user: z.string().nullish().describe('Taken and not used.'),
  }),
  example: { model: 'all-MiniLM-L6-v2', input: ['how do I get my money back'], input_type: 'query' },
  answer: z.object({
    object: z.literal('list'),
    data: z.array(embedding),
    model: z.string(),
    usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
  }),
  refusals: BODY_REFUSALS,
  async handle({ inference, signal }, body) {
    const found = inference.models.find(body.model, featureExtraction.name);
    const { vectors, tokens } = await inference.embed({
      model: found,
      inputs: inputsOf(body.input),
      inputType: inputTypeOf(body.input_type ?? body.prompt_name),
      dimensions: body.dimensions ?? undefined,
      truncate: true,
      signal,
    });
    const encode = body.encoding_format === 'base64' ? asBase64 : asList;
    const data = await vectorsAsJson(
      vectors,
      (vector, index) => `{"object":"embedding","index":${index},"embedding":${encode(vector)}}`,
    );
    const name = JSON.stringify(body.model ?? found.name);
    return new JsonText(
      `{"object":"list","data":${data},"model":${name},"usage":{"prompt_tokens":${tokens},"total_tokens":${tokens}}}`,
    );
  },
});

const models: Route = {
  method: 'get',
  path: '/v1/models',
  summary: 'The models that are here',
  dialect: 'openai',
  answer: z.object({ object: z.literal('list'), data: z.array(listedModel) }),
  refusals: [503],
  handle: ({ inference }) => ({ object: 'list', data: inference.models.list().map(asListed) }),
};

const oneModel: Route = {
  method: 'get',
  path: '/v1/models/{model}',
  summary: 'One of them',
  dialect: 'openai',
  answer: listedModel,
  refusals: [404, 503],
  handle({ inference, params }) {
    const models = inference.models.list();
    const found = models.find(({ name }) => name === params.model);
    if (!found)
      throw modelNotFound(
        params.model!,
        models.map(({ name }) => name),
      );
    return asListed(found);
  },
};

function asListed({ name, task, variants, created, directory }: ListedModel) {
  const owner = directory === null ? name.split(':')[0]! : (directory.split('/').at(-2) ?? '');
  return { id: name, object: 'model', created, owned_by: owner, task, variants };
}

export const openaiRoutes: readonly Route[] = [embeddings, models, oneModel];
