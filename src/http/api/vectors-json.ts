import { setImmediate as nextTurn } from 'node:timers/promises';

/** Numbers written before others have a turn: some ms. */
const AT_ONCE = 50_000;

/** Vectors as pieces of JSON, each by `write`, letting others have a turn now and then. */
export async function vectorsAsJson(
  vectors: readonly Float32Array[],
  write: (vector: Float32Array, place: number) => string,
): Promise<string> {
  const pieces: string[] = [];
  let numbers = 0;
  for (const [place, vector] of vectors.entries()) {
    pieces.push(write(vector, place));
    numbers += vector.length;
    if (numbers < AT_ONCE) continue;
    numbers = 0;
    await nextTurn();
  }
  return `[${pieces.join(',')}]`;
}

/** A vector as a list of numbers. */
export function asList(vector: Float32Array): string {
  return `[${vector.join(',')}]`;
}

/** A vector as OpenAI's base64: its float32 numbers, the lowest byte first. */
export function asBase64(vector: Float32Array): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [place, number] of vector.entries()) bytes.writeFloatLE(number, place * 4);
  return `"${bytes.toString('base64')}"`;
}
