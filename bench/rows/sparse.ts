import { rmSync } from 'node:fs';
import { pino } from 'pino';
import type { Row } from '../row.ts';
import { createModelStore, Embedder, Engine } from '../support/built.ts';
import { overBareLoop } from '../support/over-bare-loop.ts';
import { glosses } from '../support/texts.ts';
import { makeSplade, SPLADE } from '../support/tiny-splade.ts';

/** Sparse vectors, over a bare onnxruntime loop that fetches the largest logits of each text from the same graph. */
export const sparse: Row = {
  name: 'sparse',
  title: 'sparse vectors against a bare onnxruntime loop',
  async measure({ quick, say }) {
    const { folder, pooledPath, output } = makeSplade();
    const model = createModelStore({ directories: [folder] }).find(SPLADE, 'feature-extraction');
    const texts = await glosses(quick ? 60 : 600);
    const engine = new Engine({ logger: pino({ level: 'error' }) });
    const embedder = new Embedder({ engine });
    let terms = 0;
    const own = async () => {
      terms = 0;
      for (const vector of await embedder.embedSparse(model, texts)) {
        if (vector instanceof Error) throw vector;
        terms += vector.indices.length;
      }
    };
    try {
      const bare = { ...model, onnxPath: pooledPath, output };
      const figures = await overBareLoop({
        ...{ model: bare, texts, quick, unit: 'texts/s', atLeast: 0.9, say, own },
      });
      say(`${Math.round(terms / texts.length)} numbers a text are not 0`);
      return figures;
    } finally {
      await engine.stop();
      rmSync(folder, { recursive: true });
    }
  },
};
