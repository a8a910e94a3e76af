import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FeatureExtractionModel } from '../../../src/model-files/description.ts';
import { bundledModelsDirectory } from '../../../src/models/catalog.ts';
import { createModelStore } from '../../../src/models/store.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pgembedder-models-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Files by path; objects are written as JSON. */
function write(files: Record<string, unknown>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), typeof content === 'string' ? content : JSON.stringify(content));
  }
}

const plain = {
  'org/plain/config.json': {
    architectures: ['BertModel'],
    hidden_size: 32,
    max_position_embeddings: 64,
    pad_token_id: 5,
  },
  'org/plain/tokenizer.json': {},
  'org/plain/model.onnx': 'onnx',
};
const find = (name = 'org/plain') => createModelStore({ directories: [folder] }).find(name);

describe('a model of the catalog', () => {
  it('is described by the catalog', () => {
    expect(createModelStore({ directories: [] }).find('all-MiniLM-L6-v2')).toEqual({
      name: 'all-MiniLM-L6-v2',
      task: 'feature-extraction',
      directory: join(bundledModelsDirectory, 'pgembedder', 'all-MiniLM-L6-v2'),
      onnxPath: join(
        bundledModelsDirectory,
        'pgembedder',
        'all-MiniLM-L6-v2',
        'onnx',
        'model_quantized.onnx',
      ),
      variant: 'q8',
      expectedSha256: '88709d892f1b8dc4a7bbd2f9e641557e39aef6e8a212b520db1195f0ccce72a5',
      licence: 'Apache-2.0',
      dimensions: 384,
      maxTokens: 256,
      pooling: 'mean',
      steps: [],
      normalize: true,
      prompts: { query: '', passage: '' },
      padTokenId: 0,
    });
  });

  it('is taken from the first folder that has it', () => {
    cpSync(join(bundledModelsDirectory, 'pgembedder'), join(folder, 'pgembedder'), { recursive: true });
    expect(find('all-MiniLM-L6-v2').directory).toBe(join(folder, 'pgembedder', 'all-MiniLM-L6-v2'));
    expect(find('pgembedder/all-MiniLM-L6-v2').name).toBe('all-MiniLM-L6-v2');
  });

  it('has what the catalog says, not what its files say', () => {
    write({
      'Xenova/bge-small-en-v1.5/config.json': { hidden_size: 1 },
      'Xenova/bge-small-en-v1.5/tokenizer.json': {},
      'Xenova/bge-small-en-v1.5/onnx/model_quantized.onnx': 'x',
    });
    expect(find('Xenova/bge-small-en-v1.5')).toMatchObject({
      dimensions: 384,
      pooling: 'cls',
      normalize: true,
      maxTokens: 512,
      prompts: { query: 'Represent this sentence for searching relevant passages: ', passage: '' },
    });
  });

  it('has the sums of the lock file, else of the catalog, and none for another variant', () => {
    const name = 'Xenova/bge-small-en-v1.5';
    write({
      [`${name}/config.json`]: {},
      [`${name}/tokenizer.json`]: {},
      [`${name}/onnx/model_quantized.onnx`]: 'x',
      [`${name}/onnx/model.onnx`]: 'x',
    });
    const store = createModelStore({ directories: [folder] });
    expect(store.find(name).expectedSha256).toMatch(/^6c9c6101/);
    expect(store.find(name, undefined, { variant: 'fp32' }).expectedSha256).toBeNull();
    const sha256 = 'ab'.repeat(32);
    const files = { 'onnx/model_quantized.onnx': { bytes: 1, sha256 } };
    const pulled_at = new Date().toISOString();
    const locked = { revision: 'main', commit: 'c', variants: ['q8'], pulled_at, files };
    write({ 'models.lock.json': { lockfileVersion: 1, models: { [name]: locked } } });
    expect(store.find(name).expectedSha256).toBe(sha256);
    write({ 'models.lock.json': '{' });
    expect(() => store.find(name)).toThrow(/models\.lock\.json cannot be read/);
  });
});

describe('a plain folder', () => {
  it('is a model with the mean of its tokens when it does not say more', () => {
    write(plain);
    expect(find()).toEqual({
      name: 'org/plain',
      task: 'feature-extraction',
      directory: join(folder, 'org', 'plain'),
      onnxPath: join(folder, 'org', 'plain', 'model.onnx'),
      variant: 'fp32',
      expectedSha256: null,
      licence: null,
      dimensions: 32,
      maxTokens: 64,
      pooling: 'mean',
      steps: [],
      normalize: false,
      prompts: { query: '', passage: '' },
      padTokenId: 5,
    });
  });

  it('takes pooling, dimensions, scaling and length from the files of sentence-transformers', () => {
    write({
      ...plain,
      'org/plain/1_Pooling/config.json': { word_embedding_dimension: 16, pooling_mode_cls_token: true },
      'org/plain/modules.json': [
        { type: 'a.Transformer' },
        { type: 'sentence_transformers.models.Normalize' },
      ],
      'org/plain/sentence_bert_config.json': { max_seq_length: 24 },
      'org/plain/tokenizer_config.json': { model_max_length: 48 },
    });
    expect(find()).toMatchObject({ pooling: 'cls', dimensions: 16, normalize: true, maxTokens: 24 });
  });

  it.each([
    [{ pooling_mode_cls_token: true, pooling_mode_mean_tokens: false }, 'cls'],
    [{ pooling_mode_mean_tokens: true, include_prompt: true }, 'mean'],
    [{ pooling_mode_lasttoken: true }, 'last'],
    [{ pooling_mode_max_tokens: true }, 'max'],
    [{ pooling_mode_mean_sqrt_len_tokens: true }, 'mean_sqrt_len'],
    [{ pooling_mode_weightedmean_tokens: true }, 'weighted_mean'],
    [{ pooling_mode_mean_tokens: false }, 'mean'],
    [{ pooling_mode: 'lasttoken', embedding_dimension: 16 }, 'last'],
    [{ pooling_mode: ['weightedmean'] }, 'weighted_mean'],
    [{ pooling_mode: 'cls', pooling_mode_mean_tokens: true }, 'cls'],
  ])('has the pooling of %j', (file, pooling) => {
    write({ ...plain, 'org/plain/1_Pooling/config.json': file });
    expect(find()).toMatchObject({ pooling, dimensions: 'embedding_dimension' in file ? 16 : 32 });
  });

  it.each([
    [{ 'org/plain/tokenizer_config.json': { model_max_length: 48 } }, 48],
    [{ 'org/plain/tokenizer_config.json': { model_max_length: 1e30 } }, 64],
    [{ 'org/plain/sentence_bert_config.json': { max_seq_length: 1000 } }, 64],
    [{ 'org/plain/sentence_bert_config.json': { max_seq_length: null } }, 64],
  ])('has the length of %j', (files, maxTokens) => {
    write({ ...plain, ...files });
    expect(find().maxTokens).toBe(maxTokens);
  });

  it('takes prompts from the files of sentence-transformers', () => {
    const file = 'org/plain/config_sentence_transformers.json';
    const prompts = (config: object) => {
      write({ ...plain, [file]: config });
      return (find() as FeatureExtractionModel).prompts;
    };
    expect(prompts({ prompts: { query: 'q: ', passage: 'p: ' } })).toEqual({ query: 'q: ', passage: 'p: ' });
    expect(prompts({ prompts: { query: 'q: ', document: '' } })).toEqual({ query: 'q: ', passage: '' });
    expect(prompts({ prompts: { sts: 's: ' }, default_prompt_name: 'sts' })).toEqual({
      query: 's: ',
      passage: 's: ',
    });
    expect(prompts({ prompts: {}, default_prompt_name: null })).toEqual({ query: '', passage: '' });
  });

  it('has the variant that is wanted, else pinned, else the first in the order of preference', () => {
    write({ ...plain, 'org/plain/onnx/model_fp16.onnx': 'x', 'org/plain/onnx/model_int8.onnx': 'x' });
    const directories = [folder];
    const of = (options: object, name = 'org/plain') =>
      createModelStore({ directories, ...options }).find(name).variant;
    expect(of({})).toBe('q8');
    expect(of({ variants: ['fp16', 'fp32', 'q8'] })).toBe('fp16');
    expect(of({ variants: ['bnb4'] })).toBe('q8');
    expect(of({ pinned: new Map([['org/plain', 'fp32']]) })).toBe('fp32');
    const store = createModelStore({ directories, pinned: new Map([['org/plain', 'fp32']]) });
    expect(store.find('org/plain', undefined, { variant: 'q8' }).onnxPath).toMatch(/model_int8\.onnx$/);
    expect(() => store.find('org/plain', undefined, { variant: 'q4' })).toThrow(
      expect.objectContaining({
        name: 'UserError',
        message: expect.stringMatching(/is not here as q4: .+ has q8, fp32, fp16/),
        hint: expect.stringContaining('models pull org/plain --variant q4'),
      }),
    );
    expect(store.list().find(({ name }) => name === 'org/plain')?.variants).toEqual(['q8', 'fp32', 'fp16']);
  });

  it('prefers the quantized file', () => {
    write({ ...plain, 'org/plain/onnx/model.onnx': 'x' });
    expect(find().onnxPath).toMatch(/onnx\/model\.onnx$/);
    write({ 'org/plain/onnx/model_quantized.onnx': 'x' });
    expect(find().onnxPath).toMatch(/model_quantized\.onnx$/);
  });

  it('may lie right in the models folder, or be a link', () => {
    write(plain);
    symlinkSync(join(folder, 'org', 'plain'), join(folder, 'linked'));
    expect(find('linked')).toMatchObject({ dimensions: 32 });
  });
});

describe('a model that is not as it should be', () => {
  it.each<[string, string, Record<string, unknown>, RegExp]>([
    ['missing', 'org/none', {}, /Model 'org\/none' is not in .+ or .+models/],
    ['no name', '../secrets', {}, /is not a model name/],
    ['no name', '/etc', {}, /is not a model name/],
    ['no name', 'a/../b', {}, /is not a model name/],
    ['broken JSON', 'org/plain', { 'org/plain/config.json': '{' }, /config\.json cannot be read/],
    ['wrong JSON', 'org/plain', { 'org/plain/config.json': { hidden_size: 'big' } }, /hidden_size/],
    ['no dimensions', 'org/plain', { 'org/plain/config.json': {} }, /does not say how long the vectors are/],
    [
      'no length',
      'org/plain',
      { 'org/plain/config.json': { hidden_size: 3 } },
      /does not say how many tokens/,
    ],
    [
      'an unknown pooling',
      'org/plain',
      { 'org/plain/1_Pooling/config.json': { pooling_mode: 'attention' } },
      /pooling attention, which/,
    ],
    [
      'two POOLINGS in a newer file',
      'org/plain',
      { 'org/plain/1_Pooling/config.json': { pooling_mode: ['mean', 'max'] } },
      /pooling mean \+ max/,
    ],
    [
      'a prompt that does not count',
      'org/plain',
      { 'org/plain/1_Pooling/config.json': { pooling_mode_mean_tokens: true, include_prompt: false } },
      /leaves the prompt out of the pooling/,
    ],
    [
      'two POOLINGS',
      'org/plain',
      { 'org/plain/1_Pooling/config.json': { pooling_mode_mean_tokens: true, pooling_mode_cls_token: true } },
      /pooling mean_tokens \+ cls_token/,
    ],
    [
      'a module that is not done',
      'org/plain',
      { 'org/plain/modules.json': [{ type: 'sentence_transformers.models.WordWeights' }] },
      /modules\.json asks for the module WordWeights/,
    ],
    [
      'no labels',
      'org/plain',
      { 'org/plain/config.json': { architectures: ['BertForTokenClassification'] } },
      /config\.json does not name the model's labels/,
    ],
    [
      'a gap in the labels',
      'org/plain',
      {
        'org/plain/config.json': {
          architectures: ['BertForSequenceClassification'],
          id2label: { 0: 'a', 2: 'b' },
        },
      },
      /config\.json does not name the model's labels/,
    ],
  ])('%s (%s) is a UserError that says what to do', (_, name, files, message) => {
    write({ ...plain, ...files });
    expect(() => find(name)).toThrow(
      expect.objectContaining({
        name: 'UserError',
        message: expect.stringMatching(message),
        hint: expect.stringMatching(/./),
      }),
    );
  });

  it.each(['config.json', 'tokenizer.json', 'model.onnx'])(
    'without %s is a UserError that names it',
    (file) => {
      write(plain);
      rmSync(join(folder, 'org', 'plain', file));
      expect(() => find()).toThrow(/is missing/);
    },
  );
});

describe('a model for a classification task', () => {
  const config = (architecture: string, id2label: Record<number, string>, more = {}) => ({
    ...plain,
    'org/plain/config.json': {
      ...plain['org/plain/config.json'],
      architectures: [architecture],
      id2label,
      ...more,
    },
  });

  it.each([
    ['softmax', { 0: 'ham', 1: 'spam' }, {}],
    ['softmax', { 0: 'ham', 1: 'spam' }, { problem_type: 'single_label_classification' }],
    ['sigmoid', { 0: 'ham', 1: 'spam' }, { problem_type: 'multi_label_classification' }],
    ['sigmoid', { 0: 'spam' }, {}],
    ['none', { 0: 'stars' }, { problem_type: 'regression' }],
  ])('has %s for %j with %j', (activation, id2label, more) => {
    write(config('BertForSequenceClassification', id2label, more));
    expect(find()).toMatchObject({
      task: 'text-classification',
      labels: Object.values(id2label),
      activation,
      maxTokens: 64,
      padTokenId: 5,
    });
  });

  it.each([
    [{ 0: 'contradiction', 1: 'neutral', 2: 'entailment' }, 2, 0],
    [{ 0: 'ENTAILMENT', 1: 'NEUTRAL', 2: 'CONTRADICTION' }, 0, 2],
    [{ 0: 'neutral', 1: 'contradiction', 2: 'entailment' }, 2, 1],
    [{ 0: 'entailment', 1: 'not_entailment' }, 0, 1],
    [{ 0: 'not_entailment', 1: 'entailment' }, 1, 0],
  ])('knows entailment and contradiction in %j', (id2label, entailment, contradiction) => {
    write(config('BertForSequenceClassification', id2label));
    expect(find()).toMatchObject({ task: 'zero-shot-classification', entailment, contradiction });
  });

  it('labels tokens', () => {
    write(config('BertForTokenClassification', { 0: 'O', 1: 'B-PER' }));
    expect(find()).toMatchObject({ task: 'token-classification', labels: ['O', 'B-PER'] });
  });

  it.each([
    ['feature-extraction', /is for text-classification, not for feature-extraction$/],
    ['token-classification', /is for text-classification, not for token-classification$/],
    [
      'zero-shot-classification',
      /is for text-classification, not for zero-shot-classification: it has no label entailment$/,
    ],
  ] as const)('is a UserError when it is asked for %s', (task, message) => {
    write(config('BertForSequenceClassification', { 0: 'ham', 1: 'spam' }));
    const store = createModelStore({ directories: [folder] });
    expect(store.find('org/plain', 'text-classification').labels).toEqual(['ham', 'spam']);
    expect(() => store.find('org/plain', task)).toThrow(
      expect.objectContaining({
        name: 'UserError',
        message: expect.stringMatching(message),
        hint: expect.stringMatching(/./),
      }),
    );
  });
});

describe('list', () => {
  it('gives every model once, with its task, the broken ones too', () => {
    write({
      ...plain,
      'spam/config.json': { architectures: ['BertForSequenceClassification'] },
      'nli/config.json': { architectures: ['BertForSequenceClassification'], label2id: { Entailment: 0 } },
      'org/broken/config.json': '{',
      'org/nothing/readme.txt': 'x',
      '.hidden/config.json': {},
    });
    const models = createModelStore({ directories: [folder, join(folder, 'absent')] }).list();
    expect(models.map(({ name, task, bundled, bytes }) => [name, task, bundled, bytes])).toEqual([
      ['all-MiniLM-L6-v2', 'feature-extraction', true, 23132553],
      ['nli', 'zero-shot-classification', false, null],
      ['org/broken', null, false, null],
      ['org/plain', 'feature-extraction', false, 4],
      ['spam', 'text-classification', false, null],
    ]);
  });
});
