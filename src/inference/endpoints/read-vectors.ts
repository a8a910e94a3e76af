import { EngineError } from '../backend/engine-error.ts';
import type { SequenceResult } from '../backend/run.ts';
import { finishVectors } from '../results/finish-vectors.ts';
import { Passing } from './failures.ts';

/** JSON has no NaN, and some servers write it even so. */
const NOT_JSON = /(?<=[[,:\s])(?:-?Infinity|-?NaN|nan|-?inf)(?=[\],}\s])/g;

/** What a server has answered, as JSON. @throws Passing when it is none */
export function readJson(body: string): unknown {
  for (const text of [body, body.replace(NOT_JSON, 'null')]) {
    try {
      return JSON.parse(text);
    } catch {
      // Once more, or given up below.
    }
  }
  throw new Passing('its answer is not JSON');
}

/**
 * The vectors of texts, from what a server has answered.
 * @param normalize whether they are to have the length 1
 * @returns an EngineError (`not-finite`) in place of one that holds something else than finite numbers, or that cannot be scaled
 * @throws Passing when one of them has another length
 */
export function readVectors(
  answered: readonly unknown[],
  dimensions: number,
  normalize: boolean,
): SequenceResult[] {
  const values = new Float32Array(answered.length * dimensions);
  for (const [row, vector] of answered.entries()) {
    values.set(numbersOf(vector, dimensions), row * dimensions);
  }
  const rows = new Int32Array(answered.length);
  const notFinite = new Set(finishVectors(values, rows, { normalize, divisor: () => 1 }).notFinite);
  return answered.map((_, row) =>
    notFinite.has(row)
      ? new EngineError(
          'not-finite',
          'The server gives no vector for the text: it has NaN in it, or is zero',
          {
            hint: 'Change the text or choose another model',
          },
        )
      : values.subarray(row * dimensions, (row + 1) * dimensions),
  );
}

function numbersOf(vector: unknown, dimensions: number): ArrayLike<number> {
  if (vector === null || vector === undefined) return new Float32Array(dimensions).fill(Number.NaN);
  const numbers = typeof vector === 'string' ? fromBase64(vector) : vector;
  if (!Array.isArray(numbers) && !(numbers instanceof Float32Array)) {
    throw new Passing('its answer has something else in the place of a vector');
  }
  if (numbers.length !== dimensions) {
    throw new Passing(`its vectors have ${numbers.length} dimensions, and ${dimensions} are listed`);
  }
  return numbers instanceof Float32Array
    ? numbers
    : numbers.map((n) => (typeof n === 'number' ? n : Number.NaN));
}

/** Little-endian float32. */
function fromBase64(text: string): Float32Array {
  const bytes = Buffer.from(text, 'base64');
  const { buffer, byteOffset, byteLength } = bytes;
  if (byteLength % 4 !== 0) throw new Passing('its answer has something else in the place of a vector');
  const view = new DataView(buffer, byteOffset, byteLength);
  return Float32Array.from({ length: byteLength >> 2 }, (_, at) => view.getFloat32(at * 4, true));
}
