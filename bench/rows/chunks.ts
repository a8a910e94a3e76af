import type { Row } from '../row.ts';
import { alternate } from '../support/alternate.ts';
import { Drainer } from '../support/drainer.ts';
import { median } from '../support/statistics.ts';
import { glosses } from '../support/texts.ts';

/** Glosses of one text. */
const GLOSSES = 40;
const CHUNKING = { strategy: 'recursive', size: 64, overlap: 8 };

/**
 * Chunks a second of a pipeline that cuts its texts, over the rows a second of one whose rows are those very chunks: what
 * cutting, hashing and writing by the row cost.
 */
export const chunks: Row = {
  name: 'chunks',
  title: 'drain with chunking against a drain of the same chunks as rows',
  async measure({ server, quick, say }) {
    const all = await glosses(quick ? 4_000 : 8_000);
    const texts = Array.from({ length: all.length / GLOSSES }, (_, i) =>
      all.slice(i * GLOSSES, (i + 1) * GLOSSES).join('.\n'),
    );
    const whole = await Drainer.start(server, 'chunked', texts, { chunking: CHUNKING });
    try {
      await whole.run();
      const pieces = await whole.chunkTexts();
      const plain = await Drainer.start(server, 'chunks_as_rows', pieces);
      try {
        const { a, b, ratio, ratios } = await alternate(
          quick ? 1 : 3,
          async () => {
            const rate = ((await whole.run()) * pieces.length) / texts.length;
            say(`chunked: ${rate.toFixed(0)} chunks/s`);
            return rate;
          },
          async () => {
            const rate = await plain.run();
            say(`as rows: ${rate.toFixed(0)} rows/s`);
            return rate;
          },
        );
        return [
          {
            name: `chunked, ${pieces.length} chunks of ${texts.length} texts`,
            value: median(a),
            unit: 'chunks/s',
            runs: a,
          },
          { name: 'the same as rows', value: median(b), unit: 'rows/s', runs: b },
          { name: 'chunked / rows', value: ratio, unit: 'x', runs: ratios },
        ];
      } finally {
        await plain.stop();
      }
    } finally {
      await whole.stop();
    }
  },
};
