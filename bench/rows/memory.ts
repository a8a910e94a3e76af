import { pino } from 'pino';
import type { Row } from '../row.ts';
import { createModelStore, Embedder, Engine } from '../support/built.ts';
import { memoryOfTree } from '../support/processes.ts';
import { glosses, mails } from '../support/texts.ts';

/**
 * Memory of an engine, its client included, over an hour of texts of ever changing lengths: after the first minute,
 * when it has met the longest ones, and at the end.
 */
export const memory: Row = {
  name: 'memory',
  title: 'memory over an hour of changing shapes',
  async measure({ quick, say }) {
    const minutes = quick ? 2 : 60;
    const model = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2', 'feature-extraction');
    const engine = new Engine({ logger: pino({ level: 'error' }) });
    const embedder = new Embedder({ engine });
    const texts = [...(await glosses(20_000)), ...(await mails(2_000))];
    const samples: number[] = [];
    try {
      const begin = performance.now();
      for (let round = 0; performance.now() - begin < minutes * 60_000; round++) {
        const size = 1 + ((round * 37) % 300);
        const from = (round * 7_919) % texts.length;
        await embedder.embedTexts(model, texts.slice(from, from + size));
        if (performance.now() - begin > samples.length * 60_000) {
          samples.push(memoryOfTree(process.pid) / 2 ** 20);
          say(`minute ${samples.length - 1}: ${samples.at(-1)!.toFixed(0)} MiB`);
        }
      }
      samples.push(memoryOfTree(process.pid) / 2 ** 20);
    } finally {
      await engine.stop();
    }
    const early = samples[1]!;
    const late = samples.at(-1)!;
    return [
      { name: 'after a minute', value: early, unit: 'MiB', runs: samples },
      { name: `after ${minutes} minutes`, value: late, unit: 'MiB' },
      { name: 'late / early', value: late / early, unit: 'x', bar: { atMost: 1.1 } },
    ];
  },
};
