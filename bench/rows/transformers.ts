import { existsSync } from 'node:fs';
import type { Figure, Row } from '../row.ts';
import { alternate } from '../support/alternate.ts';
import { createModelStore } from '../support/built.ts';
import { Drainer } from '../support/drainer.ts';
import { Rival } from '../support/rival.ts';
import { median } from '../support/statistics.ts';
import { glosses, mails } from '../support/texts.ts';

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
    const { directory } = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2');
    const kinds = [
      { kind: 'glosses', texts: await glosses(quick ? 3_000 : 12_000), bar },
      { kind: 'mails', texts: await mails(quick ? 100 : 600), bar: { atLeast: 1.3 } },
    ];
    const figures: Figure[] = [];
    for (const { kind, texts, bar } of kinds) {
      const rival = await Rival.start('transformers/plain-loop.mjs', { directory });
      const drainer = await Drainer.start(server, `transformers_${kind}`, texts);
      try {
        await rival.run(texts.slice(0, Math.ceil(texts.length / 10)));
        const { a, b, ratio, ratios } = await alternate(
          quick ? 1 : 3,
          () => drainer.run(),
          async () => texts.length / (await rival.run(texts)),
        );
        say(`${kind}: ${median(a).toFixed(0)} and ${median(b).toFixed(0)} rows/s`);
        figures.push(
          { name: `${kind}: drain`, value: median(a), unit: 'rows/s', runs: a },
          { name: `${kind}: transformers.js`, value: median(b), unit: 'rows/s', runs: b },
          { name: `${kind}: drain / transformers.js`, value: ratio, unit: 'x', runs: ratios, bar },
        );
      } finally {
        rival.stop();
        await drainer.stop();
      }
    }
    return figures;
  },
};
