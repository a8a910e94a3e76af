import type { Database } from '../../database/database.ts';
import { readWords } from '../../database/demo-table.ts';
import type { Embedder } from '../../inference/embedder.ts';
import type { VectorModel } from '../../model-files/description.ts';
import { embedQuery, findNearest, type SearchablePipeline } from '../../search/search.ts';
import { formatCount, formatMilliseconds, oneLine } from '../format.ts';
import { colours, errorColours, print, printJson, say, width } from '../output.ts';

/** A word whose gloss is near to the query. */
export interface Answer {
  word: string;
  pos: string;
  gloss: string;
  similarity: number;
}

/** What a demo needs to answer. */
export interface Dictionary {
  database: Database;
  pipeline: SearchablePipeline;
  model: VectorModel;
  embedder: Embedder;
  rows: number;
  count: number;
  json: boolean;
}

/** Answers one query, on stdout; the times go to stderr. */
export async function answer(dictionary: Dictionary, query: string): Promise<void> {
  const { database, pipeline, model, embedder, count } = dictionary;
  const begin = performance.now();
  const vector = await embedQuery(embedder, model, query, pipeline.options);
  const embedded = performance.now();
  const matches = await findNearest(database, pipeline, vector, count);
  const words = await readWords(
    database,
    matches.map(({ key }) => Number(key.id)),
  );
  const found = performance.now();
  const answers = matches.map(({ key, similarity, input }) => {
    const { word = '', pos = '' } = words.get(Number(key.id)) ?? {};
    return { word, pos, gloss: input ?? '', similarity };
  });
  if (dictionary.json) {
    printJson({ query, milliseconds: Math.round((found - begin) * 10) / 10, answers });
    return;
  }
  for (const line of formatAnswers(answers)) print(line);
  const times = `embedding ${formatMilliseconds(embedded - begin)}, search ${formatMilliseconds(found - embedded)}`;
  say(
    errorColours.dim(
      `  ${formatMilliseconds(found - begin)} over ${formatCount(dictionary.rows)} glosses (${times})\n`,
    ),
  );
}

const WORD_WIDTH = 26;

/** A line for each answer: similarity, words, gloss. */
export function formatAnswers(answers: readonly Answer[], columns = width()): string[] {
  const words = answers.map(({ word }) => oneLine(word, WORD_WIDTH));
  const widest = Math.max(0, ...words.map((word) => word.length));
  return answers.map(({ gloss, similarity }, i) => {
    const room = Math.max(20, columns - widest - 12);
    return `  ${colours.cyan(similarity.toFixed(2))}  ${colours.bold(words[i]!.padEnd(widest))}  ${oneLine(gloss, room)}`;
  });
}
