import { EventEmitter, once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { HubServer } from '../support/hub-server.ts';
import { pollUntil } from '../support/poll-until.ts';
import { tinyModelsFolder } from '../support/tiny-models.ts';
import { Cli, isPlain, run, runJson } from './cli.ts';

const NLI = 'pgembedder/tiny-random-nli';
const NER = 'pgembedder/tiny-random-ner';
const tiny = tinyModelsFolder();
const onnx = readFileSync(join(tiny, NLI, 'onnx', 'model.onnx'));
const GET_WEIGHTS = /GET \/[0-9a-f]{64}$/;

let server: HubServer;
let folder: string;
let env: Record<string, string>;

beforeAll(async () => {
  server = await HubServer.start();
  for (const name of [NLI, NER]) server.publish(name, filesOf(name));
});

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pgembedder-models-'));
  env = { PGEMBEDDER_MODELS_DIR: folder, PGEMBEDDER_HUB_URL: server.url };
});

afterEach(() => {
  server.faults.length = 0;
  server.requests.length = 0;
  rmSync(folder, { recursive: true });
});

afterAll(async () => {
  await server.stop();
  rmSync(tiny, { recursive: true });
});

function filesOf(name: string): Record<string, Buffer> {
  const paths = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'onnx/model.onnx'];
  return Object.fromEntries(paths.map((path) => [path, readFileSync(join(tiny, name, path))]));
}

/** A fault that stops in the middle of the weights: `reached` resolves then, `go` lets it go on. */
function stall() {
  const events = new EventEmitter();
  const reached = once(events, 'reached');
  server.faults.push({
    match: GET_WEIGHTS,
    stallAfter: 1_000_000,
    stalled: () => events.emit('reached'),
    until: once(events, 'go'),
  });
  return { reached, go: () => events.emit('go') };
}

it('a model is pulled, listed, checked, used and removed, without a database', async () => {
  const pulled = await run(['models', 'pull', NLI], { env });
  expect(pulled).toMatchObject({ code: 0 });
  expect(pulled.stdout).toMatch(
    /^pgembedder\/tiny-random-nli fp32 at [0-9a-f]{12}: 4 files fetched, in .+\n$/,
  );
  // A line for each file where there is no terminal.
  expect(pulled.stderr.trimEnd().split('\n')).toEqual([
    expect.stringMatching(/^pgembedder\/tiny-random-nli: 4 files, 4\.6 MB$/),
    expect.stringMatching(/^ {2}config\.json {2}\d+ B$/),
    expect.stringMatching(/^ {2}tokenizer\.json {2}466\.2 kB$/),
    expect.stringMatching(/^ {2}tokenizer_config\.json {2}\d+ B$/),
    expect.stringMatching(/^ {2}onnx\/model\.onnx {2}4\.1 MB$/),
  ]);
  expect(isPlain(pulled.stdout + pulled.stderr)).toBe(true);

  const listed = await runJson<{ name: string }[]>(['models', 'list'], { env });
  expect(listed.find(({ name }) => name === NLI)).toEqual({
    name: NLI,
    task: 'zero-shot-classification',
    dimensions: null,
    variants: ['fp32'],
    bytes: onnx.length,
    licence: null,
    directory: join(folder, NLI),
    bundled: false,
    endpoint: null,
  });
  expect(listed.find(({ name }) => name === 'Xenova/bge-small-en-v1.5')).toMatchObject({ directory: null });
  const table = await run(['models', 'list'], { env });
  expect(table.stdout).toMatch(/\nall-MiniLM-L6-v2 +feature-extraction +384 {2}q8 .+comes with pgembedder\n/);

  expect(await runJson(['models', 'check'], { env })).toEqual([
    { model: 'all-MiniLM-L6-v2', ok: true, found: expect.stringContaining('8 files as in the catalog') },
    { model: NLI, ok: true, found: expect.stringContaining('4 files as locked') },
  ]);
  const labels = ['--labels', 'sport,politics'];
  expect(await runJson(['classify', 'a draw', '--model', NLI, ...labels], { env })).toMatchObject({
    model: NLI,
  });

  expect(await runJson(['models', 'remove', NLI], { env })).toMatchObject({ model: NLI });
  expect(readdirSync(folder).filter((name) => !name.startsWith('.'))).toEqual(['models.lock.json']);
  expect(await run(['models', 'remove', NLI], { env })).toMatchObject({ code: 1 });
});

describe('check', () => {
  it.each<[string, (model: string) => void, RegExp]>([
    [
      'a damaged ONNX file',
      (model) => writeFileSync(join(model, 'onnx/model.onnx'), onnx.subarray(5)),
      /model\.onnx is not what it should be: it has \d+ bytes/,
    ],
    [
      'a missing file',
      (model) => rmSync(join(model, 'tokenizer_config.json')),
      /tokenizer_config\.json cannot be read/,
    ],
    [
      'a missing folder',
      (model) => rmSync(model, { recursive: true }),
      /is not in .+models pull pgembedder\/tiny-random-nli/,
    ],
  ])('finds %s, in one line, and a pull mends it', async (_, damage, found) => {
    await run(['models', 'pull', NLI], { env });
    damage(join(folder, NLI));
    const { code, stdout } = await run(['models', 'check', NLI], { env });
    expect(code).toBe(1);
    expect(stdout).toMatch(/^fail {2}pgembedder\/tiny-random-nli {2}[^\n]+\n$/);
    expect(stdout).toMatch(found);
    expect(await run(['models', 'pull', NLI], { env })).toMatchObject({ code: 0 });
    expect(await run(['models', 'check', NLI], { env })).toMatchObject({ code: 0 });
  });

  it.each<[string, (model: string) => void, RegExp]>([
    [
      'a broken tokenizer',
      (model) => writeFileSync(join(model, 'tokenizer.json'), '{}'),
      /tokenizer\.json cannot be used/,
    ],
    [
      'an ONNX file that is none',
      (model) => writeFileSync(join(model, 'onnx/model.onnx'), 'x'),
      /model\.onnx cannot be used/,
    ],
  ])('of a folder of the user’s own finds %s', async (_, damage, found) => {
    cpSync(join(tiny, NLI), join(folder, 'mine'), { recursive: true });
    expect((await run(['models', 'check', 'mine'], { env })).stdout).toContain('no sums known');
    damage(join(folder, 'mine'));
    const { code, stdout } = await run(['models', 'check', 'mine'], { env });
    expect({ code, line: stdout }).toEqual({ code: 1, line: expect.stringMatching(found) });
  });
});

describe('two processes', () => {
  it('that pull the same model fetch it once', async () => {
    const { reached, go } = stall();
    const first = new Cli(['models', 'pull', NLI], { env });
    await reached;
    const second = new Cli(['models', 'pull', NLI], { env });
    await second.said('waiting for it');
    go();
    expect(await first.result()).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('4 files fetched'),
    });
    expect(await second.result()).toMatchObject({ code: 0, stdout: expect.stringContaining('all here') });
    expect(server.asked(GET_WEIGHTS)).toHaveLength(1);
  });

  it('of which the first is killed: the model is absent, and the second goes on where it was', async () => {
    const { reached } = stall();
    const first = new Cli(['models', 'pull', NLI], { env });
    await reached;
    // Something of what was sent is on the disk.
    const staging = join(folder, '.pull', encodeURIComponent(NLI));
    await pollUntil(() =>
      readdirSync(staging).some((name) => name.endsWith('.part') && statSync(join(staging, name)).size > 0),
    );
    first.kill('SIGKILL');
    expect(await first.result()).toMatchObject({ signal: 'SIGKILL' });
    expect(existsSync(join(folder, NLI))).toBe(false);
    const lost = await run(['classify', 'x', '--model', NLI, '--labels', 'a'], { env });
    expect(lost).toMatchObject({ code: 1, stderr: expect.stringContaining(`models pull ${NLI}`) });
    const second = await run(['models', 'pull', NLI], { env });
    expect(second).toMatchObject({ code: 0, stderr: expect.stringContaining('of it here already') });
    expect(await run(['models', 'check', NLI], { env })).toMatchObject({ code: 0 });
    expect(server.asked(/GET .*tokenizer\.json/)).toHaveLength(1);
    expect(server.asked(GET_WEIGHTS).at(-1)?.range).toMatch(/^bytes=[1-9]/);
  });

  it('of which the first is stopped by Ctrl-C: the second need not wait for its lock', async () => {
    const { reached } = stall();
    const first = new Cli(['models', 'pull', NLI], { env });
    await reached;
    first.kill('SIGINT');
    expect(await first.result()).toMatchObject({ signal: 'SIGINT' });
    expect(existsSync(join(folder, '.lock'))).toBe(false);
  });
});

describe('for an image', () => {
  it('all models of the lock file are pulled, at their commits', async () => {
    await run(['models', 'pull', NLI, NER, 'all-MiniLM-L6-v2'], { env });
    const before = await runJson<{ name: string; commit: string }[]>(['models', 'pull'], { env });
    for (const name of [NLI, NER]) {
      rmSync(join(folder, name), { recursive: true });
      server.publish(name, { ...filesOf(name), 'config.json': Buffer.from('{}') });
    }
    expect(await runJson(['models', 'pull'], { env })).toEqual(
      before.map((model) => ({ ...model, fetched: 4 })),
    );
    expect(await runJson(['models', 'pull', NLI, '--update'], { env })).toMatchObject([{ fetched: 1 }]);
    // As it was for the other tests.
    for (const name of [NLI, NER]) server.publish(name, filesOf(name));
  });

  it.each(['PGEMBEDDER_OFFLINE', 'HF_HUB_OFFLINE'])('%s lets nothing be fetched', async (setting) => {
    const offline = { ...env, [setting]: '1' };
    const refused = await run(['models', 'pull', NLI], { env: offline });
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(/^pgembedder: .+nothing is fetched offline.+\n$/);
    expect(server.requests).toEqual([]);
    await run(['models', 'pull', NLI], { env });
    expect(await run(['models', 'pull', NLI], { env: offline })).toMatchObject({ code: 0 });
  });

  it('a folder is copied, and --dir names the models folder', async () => {
    const args = ['models', 'pull', join(tiny, NLI), '--name', 'mine/nli', '--dir', join(folder, 'deep')];
    expect(await runJson(args)).toMatchObject([{ name: 'mine/nli', commit: null, variants: ['fp32'] }]);
    const elsewhere = { PGEMBEDDER_MODELS_DIR: join(folder, 'deep') };
    expect(await runJson(['models', 'check', 'mine/nli'], { env: elsewhere })).toMatchObject([{ ok: true }]);
    expect(server.requests).toEqual([]);
  });

  it('a folder that cannot be written to is one line', async () => {
    writeFileSync(join(folder, '.pull'), 'a file in the place of a folder');
    const { code, stderr } = await run(['models', 'pull', NLI], { env });
    expect(code).toBe(1);
    expect(stderr).toMatch(/pgembedder: .+ cannot be written to: .+PGEMBEDDER_MODELS_DIR or --dir\n$/);
  });

  it('models lie in XDG_DATA_HOME when no folder is named', async () => {
    const home = { XDG_DATA_HOME: folder, PGEMBEDDER_HUB_URL: server.url };
    await run(['models', 'pull', NLI], { env: home });
    expect(existsSync(join(folder, 'pgembedder', 'models', NLI, 'config.json'))).toBe(true);
    expect(await run(['models', 'check', NLI], { env: home })).toMatchObject({ code: 0 });
  });
});

describe('PGEMBEDDER_MODEL_<TASK>', () => {
  it('names the model of a command that names none, and its variant', async () => {
    cpSync(join(tiny, NLI), join(folder, NLI), { recursive: true });
    cpSync(join(tiny, NER), join(folder, NER), { recursive: true });
    const settings = {
      ...env,
      PGEMBEDDER_MODEL_ZERO_SHOT_CLASSIFICATION: NLI,
      PGEMBEDDER_MODEL_TOKEN_CLASSIFICATION: `${NER}:fp32`,
    };
    const zeroShot = ['classify', 'x', '--labels', 'a,b'];
    expect(await runJson(zeroShot, { env: settings })).toMatchObject({ model: NLI });
    const entities = ['classify', 'x', '--aggregation-strategy', 'none'];
    expect(await runJson(entities, { env: settings })).toMatchObject({ model: NER });
    const none = await run(['classify', 'x'], { env: settings });
    expect(none).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('PGEMBEDDER_MODEL_TEXT_CLASSIFICATION'),
    });
    const wrong = { ...settings, PGEMBEDDER_MODEL_TOKEN_CLASSIFICATION: `${NER}:q8` };
    const absent = await run(entities, { env: wrong });
    expect(absent).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/is not here as q8: .+ has fp32/),
    });
    // Also for who names the model alone.
    expect(await run(['classify', 'x', '--model', NER], { env: wrong })).toMatchObject({ code: 1 });
    const odd = { ...settings, PGEMBEDDER_MODEL_FEATURE_EXTRACTION: 'x:y' };
    expect((await run(['embed', 'x'], { env: odd })).stderr).toMatch(
      /^pgembedder: There is no model 'x:y': 'x' is no endpoint, and 'y' no variant/,
    );
  });

  it('is the model of embed', async () => {
    const settings = { PGEMBEDDER_MODEL_FEATURE_EXTRACTION: 'all-MiniLM-L6-v2:q8' };
    expect(await runJson(['embed', 'x'], { env: settings })).toMatchObject({ model: 'all-MiniLM-L6-v2' });
  });
});
