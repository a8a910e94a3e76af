import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../../src/package-root.ts';
import { createDatabase } from '../../support/postgres.ts';
import { type Installation, installPacked } from './packed.ts';

const execute = promisify(execFile);
let installed: Installation;

beforeAll(async () => {
  installed = await installPacked();
});
afterAll(() => rm(installed.folder, { recursive: true, force: true }));

/** The example of the guide's section on the library, as it stands there. */
async function guideExample(): Promise<string> {
  const guide = await readFile(join(packageRoot, 'docs/guide.md'), 'utf8');
  return /```ts\n(.*?)```/s.exec(guide)![1]!;
}

describe('the package', () => {
  it('holds the code, ONNX Runtime, migrations, models and docs, and no source maps or sources', () => {
    const { files } = installed;
    for (const path of [
      'dist/cli/main.js',
      'dist/index.js',
      'dist/index.d.ts',
      'docs/guide.md',
      'models/catalog.json',
      'node_modules/onnxruntime-node/package.json',
    ])
      expect(files).toContain(path);
    expect(files.some((path) => path.startsWith('migrations/'))).toBe(true);
    expect(files.filter((path) => path.endsWith('.map') && !path.startsWith('node_modules/'))).toEqual([]);
    expect(files.filter((path) => /^(src|test|bench)\//.test(path))).toEqual([]);
  });

  it("runs the guide's example of the library, word by word, on a fresh database", async () => {
    const database = await createDatabase();
    await database.query('create table articles (id int primary key, title text, body text)');
    await database.query(`insert into articles values
      (1, 'Refunds', 'You get your money back within 30 days.'), (2, 'Bread', 'Bake it for an hour.')`);
    await writeFile(join(installed.folder, 'example.mjs'), await guideExample());
    const { stdout, stderr } = await execute(process.execPath, ['example.mjs'], {
      cwd: installed.folder,
      env: { ...process.env, DATABASE_URL: database.url },
    });
    expect(stderr).toBe('');
    expect(stdout).toContain('articles 2');
    expect(stdout).toMatch(/key: \{ id: 1 \}.*key: \{ id: 2 \}/s);
    expect(stdout).toContain('384 [');
    expect(stdout).toContain("label: 'sport'");
    await database.drop();
  });

  it('has types that need nothing of the application, not even skipLibCheck', async () => {
    const { folder } = installed;
    await writeFile(join(folder, 'example.ts'), await guideExample());
    const options = { module: 'nodenext', target: 'es2023', strict: true, skipLibCheck: false, noEmit: true };
    await writeFile(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: { ...options, types: ['node'] }, files: ['example.ts'] }),
    );
    await writeFile(join(folder, 'package.json'), '{"type": "module"}');
    const tsc = join(packageRoot, 'node_modules/.bin/tsc');
    const { stdout } = await execute(tsc, ['-p', folder]).catch((error) => error);
    expect(stdout).toBe('');
  });
});
