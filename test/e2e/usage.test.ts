import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { run } from './cli.ts';

const COMMANDS = [
  'demo',
  'migrate',
  'work',
  'status',
  'pipeline',
  'pipeline list',
  'pipeline create',
  'pipeline drop',
  'pipeline pause',
  'pipeline resume',
  'models',
  'models list',
  'models pull',
  'models check',
  'models remove',
  'retry',
  'search',
  'embed',
  'classify',
  'doctor',
];

describe('help', () => {
  it.each(COMMANDS)('%s --help has an example and exit code 0', async (command) => {
    const { code, stdout, stderr } = await run([...command.split(' '), '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain('Example:\n  $ ');
    expect(stderr).toBe('');
  });

  it('is what a call without a command gets, on stderr', async () => {
    const { code, stdout, stderr } = await run([]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('Usage: pgembedder');
  });
});

describe('an error is one line that says what to do', () => {
  it.each([
    ['an unknown command', ['serach', 'x'], 2, /unknown command 'serach'.*Did you mean search/],
    ['an unknown flag', ['status', '--foo'], 2, /unknown option '--foo'/],
    ['a missing argument', ['search', 'articles'], 2, /missing required argument 'query'/],
    [
      '--embedded that has taken the argument',
      ['search', '--embedded', 'articles', 'q'],
      2,
      /put --embedded last/,
    ],
    ['a count that is none', ['search', 'a', 'b', '-k', '0'], 2, /a whole number from 1 to 1000/],
    ['options that are no JSON', ['pipeline', 'create', 'a', 'b', '--options', '{'], 2, /a JSON object/],
    ['no database', ['status'], 2, /DATABASE_URL.*--embedded/],
    ['a URL that is none', ['status', '--database-url', 'mydb'], 2, /postgres:\/\/user:password@host/],
    [
      'a server that is away',
      ['status', '--database-url', 'postgres://u:secret@127.0.0.1:1/x'],
      1,
      /127\.0\.0\.1:1\b/,
    ],
    ['a pull of no name', ['models', 'pull', '../..', '--name', '../x'], 1, /'\.\.\/x' is not a model name/],
    ['a pull of nothing', ['models', 'pull'], 2, /no model is named, and .*models\.lock\.json has none/],
    [
      'a variant that there is not',
      ['models', 'pull', 'a/b', '--variant', 'q9'],
      2,
      /Allowed choices are q8/,
    ],
    ['a variant that there is not', ['embed', 'x', '--model', 'a/b:q9'], 1, /'q9' no variant.*q8, fp32/],
    [
      'a model that is bundled',
      ['models', 'remove', 'all-MiniLM-L6-v2'],
      1,
      /comes with pgembedder, and stays/,
    ],
    [
      'a device that is none',
      ['embed', 'x', '--device', 'gpu'],
      2,
      /'gpu' is invalid\. It is auto, cpu, cuda/,
    ],
    [
      'a device that is not here',
      ['embed', 'x', '--device', process.platform === 'win32' ? 'coreml' : 'dml'],
      1,
      /does not have it on this system\. Choose one of cpu, .*--device auto/,
    ],
    ['a model that is not there', ['embed', 'x', '--model', 'nope'], 1, /'nope'/],
  ])('%s', async (_, args, code, message) => {
    const result = await run(args);
    expect(result.code).toBe(code);
    expect(result.stdout).toBe('');
    expect(result.stderr).toMatch(message);
    expect(result.stderr).toMatch(/^pgembedder: [^\n]+\n$/);
    expect(result.stderr).not.toContain('secret');
  });

  it('names a setting that is wrong', async () => {
    const { code, stderr } = await run(['embed', 'x'], { env: { PGEMBEDDER_WINDOW: 'many' } });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^pgembedder: .*PGEMBEDDER_WINDOW.*\n$/);
    const device = await run(['embed', 'x'], { env: { PGEMBEDDER_DEVICE: 'gpu' } });
    expect(device.code).toBe(1);
    expect(device.stderr).toMatch(/^pgembedder: .*PGEMBEDDER_DEVICE: must be auto, cpu, cuda.*\n$/);
  });
});

describe('embed', () => {
  it("prints pgvector's text", async () => {
    const { code, stdout } = await run(['embed', 'a small cat']);
    expect(code).toBe(0);
    const vector = JSON.parse(stdout) as number[];
    expect(vector).toHaveLength(384);
    expect(Math.hypot(...vector)).toBeCloseTo(1, 4);
  });

  it('prints JSON', async () => {
    const { stdout } = await run(['embed', 'a small cat', '--query', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ model: 'all-MiniLM-L6-v2', dimensions: 384 });
  });
});

describe('a database URL in a file', () => {
  it('is used, and not printed', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pgembedder-url-'));
    try {
      const file = join(folder, 'database_url');
      await writeFile(file, 'postgres://u:secret@127.0.0.1:1/x\n');
      const { code, stdout, stderr } = await run(['status'], { env: { DATABASE_URL_FILE: file } });
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toContain('127.0.0.1:1');
      expect(stderr).not.toContain('secret');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('that is not there is one line', async () => {
    const { code, stderr } = await run(['status'], { env: { DATABASE_URL_FILE: '/nowhere/url' } });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^pgembedder: DATABASE_URL_FILE: the file cannot be read: .*\n$/);
  });
});
