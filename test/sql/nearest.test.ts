import { afterAll, beforeAll, expect, it } from 'vitest';
import { didYouMean } from '../../src/nearest.ts';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';

let database: MigratedDatabase;
beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

const MODELS = [
  'all-MiniLM-L6-v2',
  'Xenova/all-MiniLM-L6-v2',
  'Xenova/all-MiniLM-L12-v2',
  'Xenova/bge-small-en-v1.5',
  'Xenova/bge-base-en-v1.5',
  'Xenova/gte-small',
  'Xenova/multilingual-e5-small',
  'cloud:text-embedding-3-small',
  'cloud:text-embedding-3-large',
];

it.each<[string, readonly string[], string]>([
  ['titel', ['title', 'body'], 'Did you mean "title"? '],
  ['TITLE', ['title'], 'Did you mean "title"? '],
  ['bdoy', ['title', 'body'], 'Did you mean "body"? '],
  ['x', ['y', 'title'], ''],
  ['', ['a', 'body'], ''],
  ['title', [], ''],
  ['something', ['articles'], ''],
  // Equally near.
  ['artcle', ['article', 'artcles', 'articles'], 'Did you mean "artcles" or "article"? '],
  ['all-MiniLM-L6', MODELS, 'Did you mean "all-MiniLM-L6-v2"? '],
  ['all-minilm-l6-v3', MODELS, 'Did you mean "all-MiniLM-L6-v2"? '],
  // What stands before the name is left out.
  ['bge-small-en-v15', MODELS, 'Did you mean "Xenova/bge-small-en-v1.5"? '],
  ['bge-small', MODELS, 'Did you mean "Xenova/bge-small-en-v1.5"? '],
  ['bge', MODELS, 'Did you mean "Xenova/bge-base-en-v1.5" or "Xenova/bge-small-en-v1.5"? '],
  ['text-embedding-3-smal', MODELS, 'Did you mean "cloud:text-embedding-3-small"? '],
  [
    'text-embedding-3',
    MODELS,
    'Did you mean "cloud:text-embedding-3-large" or "cloud:text-embedding-3-small"? ',
  ],
  ['Xenova/bge-smal-en-v1.5', MODELS, 'Did you mean "Xenova/bge-small-en-v1.5"? '],
  // A part in the middle; three at most, the shortest first.
  [
    'minilm',
    MODELS,
    'Did you mean "all-MiniLM-L6-v2" or "Xenova/all-MiniLM-L6-v2" or "Xenova/all-MiniLM-L12-v2"? ',
  ],
  ['e5', MODELS, ''],
  ['größe', ['grösse', 'große'], 'Did you mean "große"? '],
  ['ab%', ['ab_c', 'abc'], 'Did you mean "abc"? '],
  ['a_c', ['abc', 'a_cd'], 'Did you mean "abc" or "a_cd"? '],
  ['a'.repeat(80), [`${'a'.repeat(63)}b`, 'c'], `Did you mean "${'a'.repeat(63)}b"? `],
])('%s of %j', async (wanted, names, meant) => {
  const { rows } = await database.query<{ said: string }>('select embedder.did_you_mean($1, $2) as said', [
    wanted,
    names,
  ]);
  expect({ sql: rows[0]!.said, typescript: didYouMean(wanted, names) }).toEqual({
    sql: meant,
    typescript: meant,
  });
});
