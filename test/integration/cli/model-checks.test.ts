import { expect, it } from 'vitest';
import type { Check } from '../../../src/cli/doctor/check.ts';
import { checkModels } from '../../../src/cli/doctor/model-checks.ts';
import { openStore } from '../../../src/cli/environment.ts';
import { createLogger } from '../../../src/cli/logger.ts';
import { readConfig } from '../../../src/config.ts';
import { cpu } from '../../../src/inference/devices/device.ts';
import { tinyModelsFolder } from '../../support/tiny-models.ts';

it('doctor runs models of every task, and names those that are not there', async () => {
  const config = readConfig({ PGEMBEDDER_MODELS_DIR: tinyModelsFolder() });
  const environment = { config, logger: createLogger('silent'), store: openStore(config), endpoints: [] };
  const kinds = ['nli', 'ner', 'multilabel'].map((kind) => `pgembedder/tiny-random-${kind}`);
  const checks: Check[] = [];
  await checkModels(environment, cpu, ['all-MiniLM-L6-v2', ...kinds, 'none/such'], (check) => {
    checks.push(check);
  });
  expect(checks.map(({ state, name, found }) => [state, name, found.replace(/ in [\d.]+ m?s$/, '')])).toEqual(
    [
      ['ok', 'model', expect.stringMatching(/^all-MiniLM-L6-v2: /)],
      ['ok', 'engine', 'all-MiniLM-L6-v2: checksum right, 384 dimensions, loaded and run'],
      ['ok', 'model', expect.stringMatching(/tiny-random-nli/)],
      ['ok', 'engine', `${kinds[0]}: no checksum known, zero-shot-classification, loaded and run`],
      ['ok', 'model', expect.stringMatching(/tiny-random-ner/)],
      ['ok', 'engine', `${kinds[1]}: no checksum known, token-classification, loaded and run`],
      ['ok', 'model', expect.stringMatching(/tiny-random-multilabel/)],
      ['ok', 'engine', `${kinds[2]}: no checksum known, text-classification, loaded and run`],
      ['fail', 'model', expect.stringMatching(/'none\/such' is not in/)],
    ],
  );
});
