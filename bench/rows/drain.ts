import type { Row } from '../row.ts';
import { alternate } from '../support/alternate.ts';
import { createModelStore, physicalCores } from '../support/built.ts';
import { Drainer } from '../support/drainer.ts';
import { Rival } from '../support/rival.ts';
import { median } from '../support/statistics.ts';
import { glosses } from '../support/texts.ts';

const BUDGETS = [512, 1024, 2048];

/**
 * Rows a second from the job table to committed vectors, worker, engine and PostgreSQL on the same cores, over those
 * of a bare onnxruntime loop (bench/rivals/bare-loop.mjs) on the same texts, at the best of three token budgets.
 */
export const drain: Row = {
  name: 'drain',
  title: 'drain against a bare onnxruntime loop',
  async measure({ server, quick, say }) {
    const texts = await glosses(quick ? 4_000 : 20_000);
    const model = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2', 'feature-extraction');
    const bare = await Rival.start('bare-loop.mjs', { ...model, threads: physicalCores() });
    const drainer = await Drainer.start(server, 'drain', texts);
    try {
      const sample = texts.slice(0, 4_000);
      await bare.run(sample, { budget: 1024 });
      const budget = await best(BUDGETS, (budget) => bare.run(sample, { budget }), quick ? 1 : 3);
      say(`bare loop: a budget of ${budget} tokens is the fastest`);
      const { a, b, ratio, ratios } = await alternate(
        quick ? 1 : 4,
        async () => {
          const rate = await drainer.run();
          say(`drain: ${rate.toFixed(0)} rows/s`);
          return rate;
        },
        async () => {
          const rate = texts.length / (await bare.run(texts, { budget }));
          say(`bare loop: ${rate.toFixed(0)} rows/s`);
          return rate;
        },
      );
      return [
        { name: 'drain', value: median(a), unit: 'rows/s', runs: a },
        { name: `bare loop, budget ${budget}`, value: median(b), unit: 'rows/s', runs: b },
        { name: 'drain / bare loop', value: ratio, unit: 'x', runs: ratios, bar: { atLeast: 0.9 } },
      ];
    } finally {
      bare.stop();
      await drainer.stop();
    }
  },
};

/** The setting that takes least, each tried a few times in turn. */
async function best(
  settings: readonly number[],
  seconds: (setting: number) => Promise<number>,
  rounds: number,
): Promise<number> {
  const times = new Map(settings.map((setting) => [setting, [] as number[]]));
  for (let round = 0; round < rounds; round++) {
    for (const [setting, list] of times) list.push(await seconds(setting));
  }
  return [...times].sort(([, a], [, b]) => median(a) - median(b))[0]![0];
}
