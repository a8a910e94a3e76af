import { z } from 'zod';
import type { RestrictedMatch } from '../../search/restricted-search.ts';
import { MAX_MATCHES } from '../../search/search.ts';
import { textRanking } from '../../tasks/text-ranking.ts';
import { HttpError } from '../api/http-error.ts';
import type { Inference } from '../api/inference.ts';
import { BODY_REFUSALS, JsonText, type Route, route } from '../api/route.ts';
import { text } from '../api/schemas.ts';
import type { OpenedPipeline } from './opened.ts';
import type { Searches } from './searches.ts';

/** Values of PostgreSQL have no character U+0000. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: as \0, which programs that read the OpenAPI document do not take.
const NO_NUL = /^[^\u0000]*$/;
const NUL = 'the character U+0000 cannot be in it';
const word = z.string().max(10_000).regex(NO_NUL, NUL);
const scalar = z.union([word, z.number(), z.boolean()]);
const number = z.number().min(-1e30).max(1e30);
const query = text.max(1_000_000).regex(NO_NUL, NUL);

const body = z.strictObject({
  query: query.optional().describe('What is looked for. It gets the prompt for queries that the model has.'),
  vector: z
    .union([
      z.array(number).min(1).max(16_000),
      z
        .array(
          z.strictObject({
            index: z
              .int()
              .min(0)
              .max(2 ** 24),
            value: number,
          }),
        )
        .min(1)
        .max(16_000),
    ])
    .optional()
    .describe(
      "In the query's place, or beside it where hybrid is true: a vector of the pipeline's model; of a sparse one what is not 0, as /embed_sparse gives it.",
    ),
  k: z.int().min(1).max(MAX_MATCHES).default(10).describe('How many rows, or chunks, are given.'),
  filter: z
    .record(z.string(), z.union([scalar, z.array(scalar).min(1).max(1_000)]))
    .default({})
    .describe('Values for conditions that the operator has declared, by their names.'),
  settings: z
    .record(z.string(), word)
    .default({})
    .describe(
      'Values for settings of the database that the operator has declared, by their names. All are needed.',
    ),
  hybrid: z.boolean().default(false).describe('Whether words count as well as meaning.'),
  rerank: z
    .union([z.boolean(), z.string().min(1).max(200)])
    .default(false)
    .describe(
      'A model that ranks what was found by how well it answers the query; true: the one that is set.',
    ),
  candidates: z
    .int()
    .min(1)
    .max(MAX_MATCHES)
    .optional()
    .describe('How many are ranked by rerank. Default: four for each one given, 40 at least.'),
});

const answer = z.object({
  pipeline: z.string(),
  results: z.array(
    z.object({
      key: z.record(z.string(), z.union([z.string(), z.number()])).describe('The primary key.'),
      chunk: z.int().describe('The number of the chunk, from 0.'),
      similarity: z
        .number()
        .nullable()
        .describe(
          '1 - cosine distance, or the inner product of sparse vectors; null where only the words were found.',
        ),
      score: z.number().optional().describe('Of a hybrid search: the ranks by meaning and by words, fused.'),
      rerank_score: z.number().nullable().optional().describe('How well it answers the query.'),
      input: z.string().nullable().optional().describe('The text of the row, or of the chunk.'),
      columns: z.record(z.string(), z.unknown()).optional().describe('Columns that the operator has opened.'),
    }),
  ),
  times: z.object({
    embed_ms: z.number(),
    search_ms: z.number(),
    rerank_ms: z.number().optional(),
  }),
});

type Ranked = RestrictedMatch & { readonly rerankScore?: number | null };

/** The route that searches opened pipelines. */
export function searchRoute(searches: Searches): Route {
  return route({
    method: 'post',
    path: '/v1/search/{pipeline}',
    scope: 'search',
    summary: 'The rows of a pipeline that are nearest to a text',
    description: 'For pipelines that the operator has opened (PGEMBEDDER_HTTP_SEARCH).',
    dialect: 'openai',
    body,
    example: { query: 'how do I get my money back', k: 3 },
    answer,
    refusals: BODY_REFUSALS,
    async handle({ inference, signal, params }, asked) {
      const opened = searches.find(params.pipeline!);
      check(asked);
      if (asked.vector === undefined && !/\S/.test(asked.query!))
        return answerOf(opened, [], { embed: 0, search: 0 });
      const ranks = asked.rerank !== false;
      const count = ranks ? (asked.candidates ?? defaultCandidates(asked.k)) : asked.k;
      const { matches, embedMs, searchMs } = await searches.search(
        opened,
        { ...asked, query: asked.query ?? null, vector: asked.vector ?? null, count, signal },
        inference,
      );
      const times = { embed: embedMs, search: searchMs };
      if (!ranks) return answerOf(opened, matches, times);
      const begin = performance.now();
      const ranked = await rank(matches, asked, inference, signal);
      return answerOf(opened, ranked.slice(0, asked.k), { ...times, rerank: performance.now() - begin });
    },
  });
}

/** What a schema cannot say. @throws HttpError 400 */
function check({ query, vector, hybrid, rerank, candidates, k }: z.infer<typeof body>): void {
  const refuse = (param: string, message: string) => {
    throw new HttpError(400, `${param}: ${message}`, { param });
  };
  if (query === undefined && vector === undefined) refuse('query', 'give a text');
  if (query === undefined && (hybrid || rerank !== false)) refuse('query', 'hybrid and rerank need a text');
  if (query !== undefined && vector !== undefined && !hybrid) refuse('vector', 'give a query or a vector');
  if (candidates !== undefined && rerank === false) refuse('candidates', 'they are for rerank');
  if (candidates !== undefined && candidates < k)
    refuse('candidates', `there have to be ${k} at least, as k is`);
}

/** As embedder.ranked_candidates. */
function defaultCandidates(k: number): number {
  return Math.max(k, Math.min(Math.max(4 * k, 40), MAX_MATCHES));
}

/** The best first; those without content come last. */
async function rank(
  matches: readonly RestrictedMatch[],
  { query, rerank }: z.infer<typeof body>,
  inference: Inference,
  signal: AbortSignal,
): Promise<Ranked[]> {
  const withText = matches.filter(({ input }) => /\S/.test(input ?? ''));
  const model = inference.models.find(typeof rerank === 'string' ? rerank : null, textRanking.name);
  const texts = withText.map(({ input }) => input!);
  const { scores } = await inference.rank({
    ...{ model, query: query!, texts, rawScores: false, truncate: true, signal },
  });
  const best = withText
    .map((match, place): Ranked => ({ ...match, rerankScore: scores[place]! }))
    .sort((a, b) => b.rerankScore! - a.rerankScore!);
  const without = matches.filter((match) => !withText.includes(match));
  return [...best, ...without.map((match): Ranked => ({ ...match, rerankScore: null }))];
}

function answerOf(
  { name, input }: OpenedPipeline,
  matches: readonly Ranked[],
  times: { embed: number; search: number; rerank?: number },
): JsonText {
  const results = matches.map((match) => {
    const fields = JSON.stringify({
      ...{ key: match.key, chunk: match.chunk, similarity: match.similarity, score: match.score },
      ...{ rerank_score: match.rerankScore, input: input ? match.input : undefined },
    });
    return match.columns === undefined ? fields : `${fields.slice(0, -1)},"columns":${match.columns}}`;
  });
  const taken = Object.entries(times).map(([part, ms]) => [`${part}_ms`, Math.round(ms * 100) / 100]);
  return new JsonText(
    `{"pipeline":${JSON.stringify(name)},"results":[${results.join(',')}],"times":${JSON.stringify(Object.fromEntries(taken))}}`,
  );
}
