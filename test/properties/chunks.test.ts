import fc from 'fast-check';
import { describe, it } from 'vitest';
import { soundChunks, strategies } from '../unit/chunking/support.ts';
import { holds, storableText } from './property.ts';

const text = fc
  .array(fc.oneof(storableText, fc.lorem({ mode: 'sentences' })), { maxLength: 12 })
  .chain((parts) =>
    fc.constantFrom('', ' ', '\n', '\n\n', '. ', '\n# ').map((between) => parts.join(between)),
  );
const size = fc
  .integer({ min: 8, max: 64 })
  .chain((most) =>
    fc.integer({ min: 0, max: Math.ceil(most / 2) - 1 }).map((overlap) => ({ size: most, overlap })),
  );

describe('the chunks of any text', () => {
  // What is sound (their places, their lengths, that nothing is left out) says soundChunks.
  it.each(strategies)('are sound: %s', async (strategy) => {
    await holds([text, size], (given, sizes) => {
      soundChunks(given, { strategy, ...sizes });
    });
  });

  it('are sound with any separators', async () => {
    const separator = storableText
      .filter((given) => given !== '')
      .map((given) => [...given].slice(0, 3).join(''));
    await holds(
      [text, size, fc.array(separator, { minLength: 1, maxLength: 4 })],
      (given, sizes, separators) => {
        soundChunks(given, { strategy: 'recursive', ...sizes, separators });
      },
    );
  });

  it('are sound where the text is no well-formed Unicode', async () => {
    const unit = fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code));
    await holds([fc.string({ unit, maxLength: 300 }), size], (given, sizes) => {
      soundChunks(given, { strategy: 'recursive', ...sizes });
    });
  });
});
