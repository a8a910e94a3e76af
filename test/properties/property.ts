import fc from 'fast-check';

/**
 * The cases are the same in every run, so that a change is never blamed for what it has not done. PROPERTY_SEED=N tries others,
 * PROPERTY_RUNS=N more of them. What fails is printed with its seed.
 */
export async function holds<Values extends [unknown, ...unknown[]]>(
  values: { [Place in keyof Values]: fc.Arbitrary<Values[Place]> },
  check: (...values: Values) => void | Promise<void>,
  runs = 100,
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(...values, async (...given) => {
      await check(...(given as Values));
    }),
    {
      seed: Number(process.env.PROPERTY_SEED ?? 20261126),
      numRuns: Number(process.env.PROPERTY_RUNS ?? runs),
    },
  );
}

/** Any text that PostgreSQL can store: every script, combining marks, emoji, control characters but NUL. */
export const storableText = fc
  .oneof(
    fc.string({ unit: 'grapheme', maxLength: 200 }),
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.string({
      unit: fc.constantFrom(...` \n\t'"\\$%{}[]/.#-*_\`<>|ab\u00a0\u200b\u0301中🙂`),
      maxLength: 200,
    }),
  )
  .map((text) => text.replaceAll('\0', ''));

/** Any name of a table, a column or a pipeline: 1 to 63 bytes. */
export const name = fc
  .oneof(
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 63 }),
    fc.string({ unit: fc.constantFrom(...` '"\\$%{}.;-Aaz_0中é🙂\n`), minLength: 1, maxLength: 63 }),
    fc.constantFrom(
      'select',
      'user',
      'table',
      'chunk',
      'embedding',
      'source',
      'old',
      'new',
      'j',
      's',
      'row_key',
    ),
  )
  .map((text) => cutToBytes(text.replaceAll('\0', ''), 63))
  .filter((text) => text !== '');

/** As many whole characters of a text as fit into so many bytes. */
function cutToBytes(text: string, bytes: number): string {
  let cut = '';
  for (const character of text) {
    if (Buffer.byteLength(cut + character) > bytes) break;
    cut += character;
  }
  return cut;
}
