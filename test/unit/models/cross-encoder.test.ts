import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readRankingPrompt, readScoreActivation } from '../../../src/model-files/cross-encoder.ts';

const folder = mkdtempSync(join(tmpdir(), 'pgembedder-cross-encoder-'));
afterAll(() => rmSync(folder, { recursive: true }));

function write(config: object, sentence: object | null = null): string {
  const directory = mkdtempSync(join(folder, 'model-'));
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config));
  if (sentence) writeFileSync(join(directory, 'config_sentence_transformers.json'), JSON.stringify(sentence));
  return directory;
}

const identity = 'torch.nn.modules.linear.Identity';
const sigmoid = 'torch.nn.modules.activation.Sigmoid';

// What sentence-transformers 6.2 takes (CrossEncoder.get_default_activation_fn and _parse_model_config).
it.each<[object, object | null, string]>([
  [{}, null, 'sigmoid'],
  [{ sentence_transformers: { activation_fn: identity, version: '4.1.0' } }, null, 'none'],
  [{ sentence_transformers: { activation_fn: sigmoid } }, null, 'sigmoid'],
  [{ sbert_ce_default_activation_function: identity }, null, 'none'],
  [
    { sentence_transformers: { activation_fn: sigmoid }, sbert_ce_default_activation_function: identity },
    null,
    'sigmoid',
  ],
  [{ sentence_transformers: { version: '4' }, sbert_ce_default_activation_function: identity }, null, 'none'],
  [{ sentence_transformers: { activation_fn: sigmoid } }, { activation_fn: identity }, 'none'],
  // Code of the model's own is not trusted, there neither.
  [{ sentence_transformers: { activation_fn: 'my.Own' } }, null, 'sigmoid'],
  [{}, { activation_fn: null }, 'sigmoid'],
])('%j and %j say %s', (config, sentence, activation) => {
  expect(readScoreActivation(write(config, sentence))).toBe(activation);
});

it('another class of torch is refused by its name', () => {
  const directory = write({ sentence_transformers: { activation_fn: 'torch.nn.modules.activation.Tanh' } });
  expect(() => readScoreActivation(directory)).toThrow(
    /config\.json asks for the activation Tanh, which pgembedder does not have/,
  );
});

it('the default prompt comes before the query', () => {
  const prompts = { web: 'search the web: ', other: 'x' };
  expect(readRankingPrompt(write({}, { prompts, default_prompt_name: 'web' }))).toBe('search the web: ');
  expect(readRankingPrompt(write({}, { prompts, default_prompt_name: 'constructor' }))).toBe('');
  expect(readRankingPrompt(write({}, { prompts }))).toBe('');
  expect(readRankingPrompt(write({}))).toBe('');
});
