import { z } from 'zod';
import { limits } from '../../../limits.ts';
import { textRanking } from '../../../tasks/text-ranking.ts';
import { BODY_REFUSALS, type Route, route } from '../route.ts';
import { model, text } from '../schemas.ts';

/** Those that are there, the best first. Of equal ones the first stays the first. */
function ranked(scores: readonly number[]): { index: number; score: number }[] {
  return scores.map((score, index) => ({ index, score })).sort((a, b) => b.score - a.score);
}

const documents = z
  .array(z.union([text, z.object({ text })]))
  .min(1)
  .max(limits.textsPerCall);

const rerank = route({
  method: 'post',
  path: '/v1/rerank',
  summary: 'Texts in the order of how well they answer a query, by a model that ranks',
  description:
    'As Jina and Cohere have it. A pair longer than the model takes is cut there, the longer text first.',
  dialect: 'openai',
  body: z.object({
    model,
    query: text,
    documents: documents.describe('The texts, or objects with a `text`.'),
    top_n: z.int().min(1).nullish().describe('How many are given, the best ones. Default: all.'),
    return_documents: z.boolean().nullish().describe('Whether each comes with its text. Default: false.'),
    raw_scores: z
      .boolean()
      .nullish()
      .describe(
        "The model's own numbers, without bounds, as they are before they become scores. Default: false.",
      ),
  }),
  example: {
    model: 'Xenova/ms-marco-MiniLM-L-6-v2',
    query: 'how do I get my money back',
    documents: ['Refunds take three days', 'Our office is closed'],
  },
  answer: z.object({
    object: z.literal('rerank'),
    model: z.string(),
    results: z.array(
      z.object({
        index: z.int().describe('The place among the documents, from 0.'),
        relevance_score: z.number(),
        document: z.object({ text: z.string() }).optional(),
      }),
    ),
    usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
  }),
  refusals: BODY_REFUSALS,
  async handle({ inference, signal }, body) {
    const found = inference.models.find(body.model, textRanking.name);
    const texts = body.documents.map((document) => (typeof document === 'string' ? document : document.text));
    const { scores, tokens } = await inference.rank({
      ...{ model: found, query: body.query, texts, signal },
      ...{ rawScores: body.raw_scores ?? false, truncate: true },
    });
    const results = ranked(scores).slice(0, body.top_n ?? texts.length);
    return {
      object: 'rerank',
      model: body.model ?? found.name,
      results: results.map(({ index, score }) => ({
        index,
        relevance_score: score,
        ...(body.return_documents && { document: { text: texts[index]! } }),
      })),
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    };
  },
});

const teiRerank = route({
  method: 'post',
  path: '/rerank',
  summary: 'Texts in the order of how well they answer a query',
  description: 'As text-embeddings-inference has it.',
  dialect: 'tei',
  body: z.object({
    query: text,
    texts: z.array(text).min(1).max(limits.textsPerCall),
    raw_scores: z.boolean().nullish().describe("The model's own numbers, without bounds. Default: false."),
    return_text: z.boolean().nullish().describe('Whether each comes with its text. Default: false.'),
    truncate: z
      .boolean()
      .nullish()
      .describe(
        'Whether a pair longer than the model takes is cut there; else it is refused. Default: true.',
      ),
    truncation_direction: z.enum(['right', 'Right']).nullish().describe('The side on which it is cut.'),
  }),
  example: {
    query: 'how do I get my money back',
    texts: ['Refunds take three days', 'Our office is closed'],
  },
  answer: z.array(z.object({ index: z.int(), score: z.number(), text: z.string().optional() })),
  refusals: BODY_REFUSALS,
  async handle({ inference, signal }, { query, texts, raw_scores, return_text, truncate }) {
    const { scores } = await inference.rank({
      ...{ model: inference.models.find(null, textRanking.name), query, texts, signal },
      ...{ rawScores: raw_scores ?? false, truncate: truncate ?? true },
    });
    return ranked(scores).map((each) => ({ ...each, ...(return_text && { text: texts[each.index]! }) }));
  },
});

export const rankingRoutes: readonly Route[] = [rerank, teiRerank];
