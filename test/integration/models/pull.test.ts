import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CPU_VARIANTS } from '../../../src/model-files/variants.ts';
import { readLock } from '../../../src/models/lock.ts';
import { FolderSource } from '../../../src/models/pull/folder-source.ts';
import { Hub } from '../../../src/models/pull/hub.ts';
import { type PullOptions, type PullResult, pullModel } from '../../../src/models/pull/pull.ts';
import { createModelStore } from '../../../src/models/store.ts';
import { HubServer } from '../../support/hub-server.ts';

const NAME = 'org/model';
const weights = randomBytes(300_000);
const files = {
  'config.json': { architectures: ['BertModel'], hidden_size: 8, max_position_embeddings: 16 },
  'tokenizer.json': { version: '1.0' },
  'tokenizer_config.json': {},
  'modules.json': [{ type: 'sentence_transformers.models.Transformer' }],
  '1_Pooling/config.json': { pooling_mode_mean_tokens: true },
  'README.md': 'not needed',
  'pytorch_model.bin': 'not needed',
  'onnx/model.onnx': Buffer.concat([weights, Buffer.from('32')]),
  'onnx/model_quantized.onnx': weights,
  'onnx/model_fp16.onnx': Buffer.from('outside'),
  'onnx/model_fp16.onnx_data': Buffer.from('its weights'),
};
const ofModel = [
  '1_Pooling/config.json',
  'config.json',
  'modules.json',
  'onnx/model_quantized.onnx',
  'tokenizer.json',
  'tokenizer_config.json',
];

let server: HubServer;
let folder: string;
let told: string[];
/** The address of a server that has ended. */
let away: string;

beforeAll(async () => {
  const ended = await HubServer.start();
  away = ended.url;
  await ended.stop();
});

beforeEach(async () => {
  server = await HubServer.start();
  folder = mkdtempSync(join(tmpdir(), 'pgembedder-pull-'));
  told = [];
});

afterEach(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const report = {
  plan: () => {},
  progress: () => {},
  done: (path: string) => void told.push(path),
  retry: (reason: string) => void told.push(`retry: ${reason}`),
};

function pull(options: Partial<PullOptions> & { token?: string } = {}): Promise<PullResult> {
  const { token, ...rest } = options;
  return pullModel({
    directory: folder,
    name: NAME,
    source: new Hub({ endpoint: server.url, token }),
    order: CPU_VARIANTS,
    report,
    firstWaitMs: 1,
    ...rest,
  });
}

/** The files of a model's folder, sorted. */
function filesHere(name = NAME): string[] {
  const entries = readdirSync(join(folder, name), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(folder, name).length + 1))
    .sort();
}

const content = (path: string) => readFileSync(join(folder, NAME, path));
const GET_WEIGHTS = new RegExp(`GET /${createHash('sha256').update(weights).digest('hex')}`);

describe('a pull', () => {
  it('fetches what is needed, verified, and locks it', async () => {
    const commit = server.publish(NAME, files);
    const result = await pull();
    expect(result).toMatchObject({ name: NAME, commit, variants: ['q8'], fetched: 6 });
    expect(filesHere()).toEqual(ofModel);
    expect(content('onnx/model_quantized.onnx').equals(weights)).toBe(true);
    const locked = readLock(folder)[NAME]!;
    expect(locked).toMatchObject({ revision: 'main', commit, variants: ['q8'] });
    expect(Object.keys(locked.files).sort()).toEqual(ofModel);
    expect(locked.files['onnx/model_quantized.onnx']).toEqual({
      bytes: weights.length,
      sha256: createHash('sha256').update(weights).digest('hex'),
    });
    expect(existsSync(join(folder, '.pull', 'org%2Fmodel'))).toBe(false);
    // What small files say of the model is known before its weights are fetched.
    expect(told.at(-1)).toBe('onnx/model_quantized.onnx');
    const model = createModelStore({ directories: [folder] }).find(NAME);
    expect(model).toMatchObject({
      variant: 'q8',
      expectedSha256: locked.files['onnx/model_quantized.onnx']!.sha256,
    });
  });

  it('takes the first variant of the order, or the one that is named, with its external data', async () => {
    server.publish(NAME, files);
    expect((await pull({ order: ['fp16', 'fp32', 'q8'] })).variants).toEqual(['fp16']);
    expect(filesHere()).toEqual(
      expect.arrayContaining(['onnx/model_fp16.onnx', 'onnx/model_fp16.onnx_data']),
    );
    expect(told.indexOf('onnx/model_fp16.onnx_data')).toBeLessThan(told.indexOf('onnx/model_fp16.onnx'));
    // A second one is put beside it, and the first is not fetched again.
    told = [];
    expect(await pull({ variant: 'fp32' })).toMatchObject({ variants: ['fp32', 'fp16'], fetched: 1 });
    expect(told).toEqual(['onnx/model.onnx']);
    expect(readLock(folder)[NAME]!.variants).toEqual(['fp32', 'fp16']);
  });

  it('shows the token to the hub and to nobody else', async () => {
    server.publish(NAME, files);
    server.token = 'secret';
    await pull({ token: 'secret' });
    expect(
      server.requests.filter(({ at }) => at === 'hub').map(({ authorization }) => authorization),
    ).toEqual(server.requests.filter(({ at }) => at === 'hub').map(() => 'Bearer secret'));
    const stored = server.requests.filter(({ at }) => at === 'store');
    expect(stored.map(({ authorization }) => authorization)).toEqual([undefined]);
    // A model that was renamed stays on the hub; one that is said to lie elsewhere is asked for without the token.
    const other = await HubServer.start();
    other.publish(NAME, files);
    const list = `/api/models/${NAME}/revision/main?blobs=true`;
    for (const location of [list, `${other.url}${list}`]) {
      server.faults.push({ match: /GET \/api/, status: 307, headers: { location } });
      await pull({ token: 'secret', update: true });
    }
    expect(other.requests).toMatchObject([{ line: `GET ${list}`, authorization: undefined }]);
    expect(server.asked(/GET \/api/).map(({ authorization }) => authorization)).toEqual(
      Array.from({ length: 4 }, () => 'Bearer secret'),
    );
    await other.stop();
  });

  it('from a folder is the same', async () => {
    const from = join(folder, 'mine');
    for (const [path, each] of Object.entries(files)) {
      mkdirSync(dirname(join(from, path)), { recursive: true });
      writeFileSync(join(from, path), Buffer.isBuffer(each) ? each : JSON.stringify(each));
    }
    const result = await pull({ source: new FolderSource(from), from });
    expect(result).toMatchObject({ commit: null, variants: ['q8'], fetched: 6 });
    expect(filesHere()).toEqual(ofModel);
    expect(readLock(folder)[NAME]).toMatchObject({ revision: null, commit: null, from });
    await expect(pull({ source: new FolderSource(folder), from: folder, name: 'org/none' })).rejects.toThrow(
      /is no folder of a model/,
    );
    // Another content is taken over as a whole, when it is asked for.
    writeFileSync(join(from, 'onnx/model_quantized.onnx'), 'changed');
    expect(await pull({ source: new FolderSource(from), from })).toMatchObject({ fetched: 0 });
    expect(await pull({ source: new FolderSource(from), from, update: true })).toMatchObject({ fetched: 1 });
    expect(content('onnx/model_quantized.onnx').toString()).toBe('changed');
  });
});

it.each(['constructor', 'org/toString'])('a model may be called %s', async (name) => {
  const from = join(folder, 'mine');
  mkdirSync(join(from, 'onnx'), { recursive: true });
  for (const path of ['config.json', 'tokenizer.json', 'onnx/model.onnx'])
    writeFileSync(join(from, path), '{}');
  expect(await pull({ name, source: new FolderSource(from), from })).toMatchObject({ name, fetched: 3 });
  expect(await pull({ name, source: null })).toMatchObject({ name, fetched: 0 });
});

describe('pulling again', () => {
  it('asks nobody when all is here, and mends what is damaged', async () => {
    server.publish(NAME, files);
    await pull();
    const asked = server.requests.length;
    expect(await pull()).toMatchObject({ fetched: 0 });
    expect(await pull({ source: null })).toMatchObject({ fetched: 0 });
    expect(server.requests.length).toBe(asked);
    writeFileSync(join(folder, NAME, 'onnx/model_quantized.onnx'), 'damaged');
    await expect(pull({ source: null })).rejects.toThrow(/nothing is fetched offline/);
    expect(await pull()).toMatchObject({ fetched: 1 });
    expect(content('onnx/model_quantized.onnx').equals(weights)).toBe(true);
  });

  it('stays at the locked commit until an update or a revision is asked for', async () => {
    const first = server.publish(NAME, files);
    await pull();
    const lock = readFileSync(join(folder, 'models.lock.json'));
    const second = server.publish(NAME, { ...files, 'onnx/model_quantized.onnx': Buffer.from('newer') });
    expect(await pull()).toMatchObject({ commit: first, fetched: 0 });
    // As in an image: the lock file is there, and the models are not.
    rmSync(join(folder, NAME), { recursive: true });
    expect(await pull()).toMatchObject({ commit: first, fetched: 6 });
    expect(content('onnx/model_quantized.onnx').equals(weights)).toBe(true);
    expect(await pull({ update: true })).toMatchObject({ commit: second, fetched: 1 });
    expect(content('onnx/model_quantized.onnx').toString()).toBe('newer');
    expect(filesHere()).toEqual(ofModel);
    expect(await pull({ revision: first })).toMatchObject({ commit: first, fetched: 1 });
    expect(readLock(folder)[NAME]).toMatchObject({ revision: first, commit: first });
    expect(JSON.parse(lock.toString()).models[NAME].files).toEqual(readLock(folder)[NAME]!.files);
  });

  it('refuses what is not what was locked', async () => {
    server.publish(NAME, files);
    await pull();
    rmSync(join(folder, NAME), { recursive: true });
    const lock = JSON.parse(readFileSync(join(folder, 'models.lock.json'), 'utf8'));
    lock.models[NAME].files['onnx/model_quantized.onnx'].sha256 = 'ab'.repeat(32);
    writeFileSync(join(folder, 'models.lock.json'), JSON.stringify(lock));
    await expect(pull()).rejects.toThrow(
      expect.objectContaining({
        message: expect.stringMatching(/model_quantized\.onnx is not the file that the lock file knows/),
        hint: expect.stringContaining('--update'),
      }),
    );
    expect(existsSync(join(folder, NAME))).toBe(false);
  });

  it('leaves a folder alone that was put there by hand, unless it is the same', async () => {
    server.publish(NAME, files);
    mkdirSync(join(folder, NAME), { recursive: true });
    writeFileSync(join(folder, NAME, 'config.json'), JSON.stringify(files['config.json']));
    expect(await pull()).toMatchObject({ fetched: 5 });
    rmSync(join(folder, 'models.lock.json'));
    writeFileSync(join(folder, NAME, 'config.json'), '{}');
    await expect(pull()).rejects.toThrow(/is there already, and its config\.json is another one/);
    expect(content('config.json').toString()).toBe('{}');
  });
});

describe('a break', () => {
  it('in mid-file is gone on from, with a range', async () => {
    server.publish(NAME, files);
    server.faults.push({ match: GET_WEIGHTS, times: 2, breakAfter: 100_000 });
    await pull();
    expect(content('onnx/model_quantized.onnx').equals(weights)).toBe(true);
    const ranges = server.asked(GET_WEIGHTS).map(({ range }) => range);
    expect(ranges).toHaveLength(3);
    expect(ranges[0]).toBeUndefined();
    const [, second, third] = ranges.map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0));
    expect(second).toBeGreaterThan(0);
    expect(third).toBeGreaterThan(second!);
  });

  it('that comes again and again ends a pull only when nothing new arrives', async () => {
    const large = randomBytes(4_000_000);
    server.publish(NAME, { ...files, 'onnx/model_quantized.onnx': large });
    const match = new RegExp(`GET /${createHash('sha256').update(large).digest('hex')}`);
    server.faults.push({ match, times: 12, breakAfter: 300_000 });
    await pull();
    expect(content('onnx/model_quantized.onnx').equals(large)).toBe(true);
    expect(server.asked(match)).toHaveLength(13);
    rmSync(join(folder, NAME), { recursive: true });
    server.faults.push({ match, times: 99, breakAfter: 0 });
    await expect(pull()).rejects.toThrow(/broke off|cannot be reached/);
    expect(server.asked(match)).toHaveLength(13 + 6);
    expect(existsSync(join(folder, NAME))).toBe(false);
  });

  it('leaves parts that are used when the content is the same, and not when it has changed', async () => {
    server.publish(NAME, files);
    server.faults.push(
      { match: GET_WEIGHTS, breakAfter: 100_000 },
      { match: GET_WEIGHTS, times: 9, status: 403 },
    );
    await expect(pull()).rejects.toThrow(/answers with status 403/);
    const store = createModelStore({ directories: [folder] });
    expect(() => store.find(NAME)).toThrow(/is not in/);
    expect(store.list().map(({ name }) => name)).toEqual(['all-MiniLM-L6-v2']);
    server.faults.length = 0;
    const changed = Buffer.from(weights.toReversed());
    server.publish(NAME, { ...files, 'onnx/model_quantized.onnx': changed });
    const before = server.requests.length;
    await pull();
    expect(content('onnx/model_quantized.onnx').equals(changed)).toBe(true);
    expect(server.requests.slice(before).every(({ range }) => range === undefined)).toBe(true);
  });

  it('of a mirror that knows no sums is gone on from by its mark, and begun anew when that has changed', async () => {
    server.plain = true;
    server.publish(NAME, files);
    const path = /GET .*resolve.*model_quantized/;
    server.faults.push({ match: path, breakAfter: 100_000 });
    await pull();
    expect(content('onnx/model_quantized.onnx').equals(weights)).toBe(true);
    expect(server.asked(path)[1]).toMatchObject({
      range: expect.stringMatching(/^bytes=\d+-$/),
      ifRange: expect.stringMatching(/^"v-/),
    });
    // A file that changes between two parts, which only its mark tells: all of the new one is sent.
    rmSync(join(folder, NAME), { recursive: true });
    rmSync(join(folder, 'models.lock.json'));
    const changed = Buffer.from(weights.toReversed());
    const stalled = () => server.replace(NAME, 'onnx/model_quantized.onnx', changed);
    server.faults.push({ match: path, breakAfter: 100_000, stalled });
    await pull();
    expect(content('onnx/model_quantized.onnx').equals(changed)).toBe(true);
  });

  it('between the two renames of an update is undone by the next pull', async () => {
    const first = server.publish(NAME, files);
    await pull();
    mkdirSync(join(folder, '.pull', 'org%2Fmodel'), { recursive: true });
    renameSync(join(folder, NAME), join(folder, '.pull', 'org%2Fmodel', 'old'));
    expect(await pull({ source: null })).toMatchObject({ commit: first, fetched: 0 });
  });
});

describe('an answer', () => {
  it.each([500, 502, 503, 429])('of status %i is asked for again', async (status) => {
    server.publish(NAME, files);
    server.faults.push(
      { match: /GET \/api/, status },
      { match: /GET .*tokenizer\.json/, status, headers: { 'retry-after': '0' } },
      { match: GET_WEIGHTS, status },
    );
    await pull();
    expect(told.filter((line) => line.startsWith('retry: '))).toEqual([
      `retry: ${server.url} answers with status ${status}`,
      `retry: ${server.url} answers with status ${status}`,
      expect.stringContaining(`answers with status ${status}`),
    ]);
  });

  it.each<[string, (options: typeof server) => Parameters<typeof pull>[0], RegExp, RegExp]>([
    [
      'that there is no such model',
      () => ({ name: 'org/none' }),
      /There is no model org\/none on http/,
      /ORG\/NAME/,
    ],
    [
      'that there is no such revision',
      () => ({ revision: 'v9' }),
      /org\/model has no revision 'v9'/,
      /--revision/,
    ],
    [
      'that it wants a token',
      (hub) => {
        hub.token = 'other';
        return {};
      },
      /does not give out org\/model: no token was sent/,
      /PGEMBEDDER_HUB_TOKEN/,
    ],
    [
      'that it wants another token',
      (hub) => {
        hub.token = 'other';
        return { token: 'mine' };
      },
      /the token that was sent may not read it/,
      /PGEMBEDDER_HUB_TOKEN/,
    ],
    [
      'that the model is gated',
      (hub) => {
        hub.gated.add(NAME);
        return {};
      },
      /org\/model is gated, and no token was sent/,
      /Accept its terms/,
    ],
    [
      'without a file that was there',
      (hub) => {
        hub.faults.push({
          match: /tokenizer_config/,
          status: 404,
          headers: { 'x-error-code': 'EntryNotFound' },
        });
        return {};
      },
      /org\/model has no tokenizer_config\.json at [0-9a-f]{40}/,
      /--update/,
    ],
    [
      'without the variant',
      () => ({ variant: 'q4' }),
      /org\/model has no variant q4/,
      /It has q8, fp32, fp16/,
    ],
    [
      'that is no hub’s',
      (hub) => {
        hub.publish(NAME, files);
        return { source: new Hub({ endpoint: `${hub.storeUrl}/x` }) };
      },
      /There is no model org\/model on http/,
      /./,
    ],
    [
      'of a server that is away',
      () => ({ source: new Hub({ endpoint: away }) }),
      /http:\/\/127\.0\.0\.1:\d+ cannot be reached: connect ECONNREFUSED/,
      /PGEMBEDDER_HUB_URL/,
    ],
    [
      'that redirects for ever',
      (hub) => {
        hub.faults.push({ match: /./, times: 99, status: 302, headers: { location: '/again' } });
        return {};
      },
      /redirects in a way that leads nowhere/,
      /./,
    ],
    [
      'that redirects to a file',
      (hub) => {
        hub.faults.push({ match: /./, status: 302, headers: { location: 'file:///etc/passwd' } });
        return {};
      },
      /redirects in a way that leads nowhere/,
      /./,
    ],
  ])('%s is one error that says what to do', async (_, prepare, message, hint) => {
    server.publish(NAME, files);
    await expect(pull(prepare(server))).rejects.toThrow(
      expect.objectContaining({
        name: 'PullError',
        message: expect.stringMatching(message),
        hint: expect.stringMatching(hint),
      }),
    );
    expect(existsSync(join(folder, NAME))).toBe(false);
    expect(readLock(folder)).toEqual({});
  });

  it.each([
    ['a wrong sum', Buffer.from(weights.toReversed()), /its SHA-256 is \w{64} where \w{64} is expected/],
    ['a size that is too large', Buffer.concat([weights, weights]), /is longer than the 300000 bytes/],
    ['a size that is too small', weights.subarray(0, 1_000), /broke off within onnx\/model_quantized\.onnx/],
  ])('with %s is refused', async (_, wrong, message) => {
    server.publish(NAME, files);
    server.faults.push({ match: GET_WEIGHTS, times: 99, content: wrong });
    await expect(pull()).rejects.toThrow(message);
    expect(existsSync(join(folder, NAME))).toBe(false);
    server.faults.length = 0;
    await pull();
    expect(content('onnx/model_quantized.onnx').equals(weights)).toBe(true);
  });

  it('whose part was damaged on this machine is fetched anew', async () => {
    server.publish(NAME, files);
    server.faults.push(
      { match: GET_WEIGHTS, breakAfter: 100_000 },
      { match: GET_WEIGHTS, times: 9, status: 403 },
    );
    await expect(pull()).rejects.toThrow(/status 403/);
    server.faults.length = 0;
    const staging = join(folder, '.pull', 'org%2Fmodel');
    const part = readdirSync(staging).find((name) => name.endsWith('.part'))!;
    writeFileSync(join(staging, part), 'something else');
    await pull();
    expect(content('onnx/model_quantized.onnx').equals(weights)).toBe(true);
  });

  it('with names that lead out of the folder changes nothing outside', async () => {
    const hostile = Buffer.from('hostile');
    server.publish(NAME, {
      ...files,
      '../../escaped.json': hostile,
      '/absolute/config.json': hostile,
      'onnx/../../../config.json': hostile,
      'onnx/model_quantized.onnx_data/../../../../escaped': hostile,
      '1_Pooling/../../config.json': hostile,
      '..\\config.json': hostile,
    });
    await pull();
    expect(filesHere()).toEqual(ofModel);
    expect(readdirSync(folder).sort()).toEqual(['models.lock.json', 'org']);
    expect(existsSync(join(folder, '..', 'escaped.json'))).toBe(false);
  });
});

describe('a model that cannot be run', () => {
  it.each<[string, Record<string, Buffer | object | null>, RegExp]>([
    [
      'has a step that is not done',
      { 'modules.json': [{ type: 'st.models.WordWeights' }] },
      /modules\.json of org\/model asks for the module WordWeights/,
    ],
    ['has no tokenizer.json', { 'tokenizer.json': null }, /has no tokenizer\.json/],
    [
      'has no ONNX file',
      { 'onnx/model.onnx': null, 'onnx/model_quantized.onnx': null, 'onnx/model_fp16.onnx': null },
      /has no ONNX file/,
    ],
  ])('because it %s is refused before its weights are fetched', async (_, change, message) => {
    const changed = Object.entries({ ...files, ...change }).filter(([, each]) => each !== null);
    server.publish(NAME, Object.fromEntries(changed) as typeof files);
    await expect(pull()).rejects.toThrow(message);
    expect(server.asked(GET_WEIGHTS)).toEqual([]);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is refused when it is not the one that the catalog knows, unless a revision is named', async () => {
    const name = 'Xenova/bge-small-en-v1.5';
    server.publish(name, files);
    await expect(pull({ name })).rejects.toThrow(
      expect.objectContaining({
        message: expect.stringMatching(/is not the file that the catalog knows/),
        hint: expect.stringContaining('--revision main'),
      }),
    );
    expect(await pull({ name, revision: 'main' })).toMatchObject({ fetched: 6 });
  });
});
