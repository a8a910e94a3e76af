import { existsSync } from 'node:fs';
import type { Row } from '../row.ts';
import { alternate } from '../support/alternate.ts';
import { createModelStore } from '../support/built.ts';
import { Drainer } from '../support/drainer.ts';
import { Rival } from '../support/rival.ts';
import { median } from '../support/statistics.ts';
import { glosses } from '../support/texts.ts';

const installed = new URL('../rivals/transformers/node_modules/@huggingface/transformers', import.meta.url);
const bar = { atLeast: 2.5 };

/**
 * The same drain against transformers.js 4 in a plain loop (bench/rivals/transformers/plain-loop.mjs): the same texts
 * in their order, 32 at a time, the same int8 file, its own defaults.
 */
export const transformers: Row = {
  name: 'transformers',
  title: 'drain against transformers.js',
  async measure({ server, quick, say }) {
    if (!existsSync(installed)) {
      const note = 'transformers.js is not installed: npm ci --prefix bench/rivals/transformers';
      return [{ name: 'drain / transformers.js', value: null, unit: 'x', bar, note }];
    }
    const texts = await glosses(quick ? 3_000 : 12_000);
    const { directory } = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2');
    const rival = await Rival.start('transformers/plain-loop.mjs', { directory });
    const drainer = await Drainer.start(server, 'transformers', texts);
    try {
      await rival.run(texts.slice(0, 1_000));
      const { a, b, ratio, ratios } = await alternate(
        quick ? 1 : 3,
        async () => {
          const rate = await drainer.run();
          say(`drain: ${rate.toFixed(0)} rows/s`);
          return rate;
        },
        async () => {
          const rate = texts.length / (await rival.run(texts));
          say(`transformers.js: ${rate.toFixed(0)} rows/s`);
          return rate;
        },
      );
      return [
        { name: 'drain', value: median(a), unit: 'rows/s', runs: a },
        { name: 'transformers.js', value: median(b), unit: 'rows/s', runs: b },
        { name: 'drain / transformers.js', value: ratio, unit: 'x', runs: ratios, bar },
      ];
    } finally {
      rival.stop();
      await drainer.stop();
    }
  },
};
