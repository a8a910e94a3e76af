import type { Bench, Figure, Row } from '../row.ts';
import { Embedder } from '../support/built.ts';
import { Drainer } from '../support/drainer.ts';
import { InstantEngine } from '../support/instant-engine.ts';
import { drainWithPgai, pgaiMissing } from '../support/pgai.ts';
import { median } from '../support/statistics.ts';
import { glosses } from '../support/texts.ts';

/** pgai's own settings, and the best of those that were tried (bench/README.md). */
const SETTINGS = [
  { name: 'at its default', concurrency: 0, batchSize: 0, runs: 2 },
  { name: 'in batches of 2,048', concurrency: 1, batchSize: 2_048, runs: 3 },
];
const bar = { atLeast: 6 };

/**
 * The queue alone: 100,000 rows from the job table to committed vectors(384), with an engine that answers at once and
 * one worker. Then the same rows with pgai's worker (bench/rivals/pgai/drain.py), its provider replaced alike.
 */
export const queue: Row = {
  name: 'queue',
  title: 'the queue alone, an engine that answers at once',
  async measure(bench) {
    const texts = await glosses(bench.quick ? 10_000 : 100_000);
    const sidecar = await measureTarget(bench, texts, 'sidecar', {});
    const column = await measureTarget(bench, texts, 'column', { targetColumn: 'embedding' });
    return [
      { ...sidecar, bar: { atLeast: 25_000 } },
      column,
      ...(await compareWithPgai(bench, texts, sidecar.value!)),
    ];
  },
};

async function measureTarget(
  { server, quick, say }: Bench,
  texts: readonly string[],
  target: string,
  pipeline: { targetColumn?: string },
): Promise<Figure> {
  const drainer = await Drainer.start(server, `queue_${target}`, texts, pipeline, {
    embedder: new Embedder({ engine: new InstantEngine() }),
  });
  try {
    const runs: number[] = [];
    for (let i = 0; i < (quick ? 2 : 5); i++) {
      runs.push(await drainer.run());
      say(`${target}: ${runs.at(-1)!.toFixed(0)} rows/s`);
    }
    return { name: `${target} target`, value: median(runs), unit: 'rows/s', runs };
  } finally {
    await drainer.stop();
  }
}

async function compareWithPgai(
  { server, quick, say }: Bench,
  texts: readonly string[],
  own: number,
): Promise<Figure[]> {
  const missing = pgaiMissing();
  if (missing) return [{ name: 'sidecar / pgai', value: null, unit: 'x', bar, note: missing }];
  const figures: Figure[] = [];
  for (const setting of SETTINGS) {
    const runs: number[] = [];
    for (let i = 0; i < (quick ? 1 : setting.runs); i++) {
      runs.push(await drainWithPgai(server, texts, setting));
      say(`pgai ${setting.name}: ${runs.at(-1)!.toFixed(0)} rows/s`);
    }
    const rate = median(runs);
    figures.push({ name: `pgai ${setting.name}`, value: rate, unit: 'rows/s', runs });
    figures.push({ name: `sidecar / pgai ${setting.name}`, value: own / rate, unit: 'x', bar });
  }
  return figures;
}
