import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { readConfig } from '../../../src/config.ts';
import { defaultModel, parseChoice, pinnedVariants } from '../../../src/models/choice.ts';
import { modelsDirectory } from '../../../src/models/places.ts';

it('a choice is a name, with or without a variant; what is no variant is part of the name', () => {
  expect(parseChoice('org/name')).toEqual({ name: 'org/name' });
  expect(parseChoice('org/name:fp16')).toEqual({ name: 'org/name', variant: 'fp16' });
  for (const name of ['cloud:words', 'ollama:words:q8', 'a:']) expect(parseChoice(name)).toEqual({ name });
});

it('each task has a model of its own, and vectors one in any case', () => {
  const none = readConfig({});
  expect(defaultModel(none, 'feature-extraction')).toEqual({ name: 'all-MiniLM-L6-v2' });
  expect(defaultModel(none, 'token-classification')).toBeNull();
  expect(pinnedVariants(none)).toEqual(new Map());
  const set = readConfig({
    PGEMBEDDER_MODEL_FEATURE_EXTRACTION: 'a/b:fp32',
    PGEMBEDDER_MODEL_TEXT_CLASSIFICATION: 'c/d',
    PGEMBEDDER_MODEL_ZERO_SHOT_CLASSIFICATION: 'e/f:q4',
  });
  expect(defaultModel(set, 'feature-extraction')).toEqual({ name: 'a/b', variant: 'fp32' });
  expect(defaultModel(set, 'text-classification')).toEqual({ name: 'c/d' });
  expect([...pinnedVariants(set)]).toEqual([
    ['a/b', 'fp32'],
    ['e/f', 'q4'],
  ]);
});

it('models lie in the folder that is named, else where a user’s data lies', () => {
  expect(modelsDirectory({ PGEMBEDDER_MODELS_DIR: 'here', XDG_DATA_HOME: '/data' })).toBe(resolve('here'));
  expect(modelsDirectory({ XDG_DATA_HOME: '/data' })).toBe('/data/pgembedder/models');
  expect(modelsDirectory({})).toBe(join(homedir(), '.local/share/pgembedder/models'));
  expect(modelsDirectory({ PGEMBEDDER_MODELS_DIR: '', XDG_DATA_HOME: '' })).toBe(modelsDirectory({}));
});

it.each(['PGEMBEDDER_HUB_URL', 'HF_ENDPOINT'])('%s has to be an address', (name) => {
  expect(() => readConfig({ [name]: 'ftp://hub' })).toThrow(name);
  expect(readConfig({ [name]: 'http://localhost:8080/mirror' })).toMatchObject({
    [name]: 'http://localhost:8080/mirror',
  });
});
