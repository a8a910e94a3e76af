import { closeSync, openSync, readSync } from 'node:fs';
import { messageOf, UserError } from '../errors.ts';

/** A tensor of a `.safetensors` file, as float32. */
export interface FloatTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** What the header says of a tensor. No schema checks it: an engine process, which reads it, is to load no more than it must. */
interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Where its bytes begin and end, behind the header. */
  readonly data_offsets: readonly [number, number];
}

/** No header is longer, by the format's own limit. */
const LONGEST_HEADER = 100_000_000;

/**
 * The tensors of a `.safetensors` file by their names; the format is eight bytes with the length of a header, the header as JSON, and
 * the numbers, little-endian (https://github.com/huggingface/safetensors#format).
 * @throws UserError for a file that is missing, damaged, or of another type than float32, float16 and bfloat16
 */
export function readTensors(path: string): ReadonlyMap<string, FloatTensor> {
  try {
    const file = openSync(path, 'r');
    try {
      const length = Number(bytesAt(file, 0, 8).readBigUInt64LE());
      if (length > LONGEST_HEADER) throw new Error('its header is too long');
      const { __metadata__, ...entries } = JSON.parse(bytesAt(file, 8, length).toString('utf8')) as Record<
        string,
        Entry
      >;
      return new Map(
        Object.entries(entries).map(
          ([
            name,
            {
              dtype,
              shape,
              data_offsets: [from, to],
            },
          ]) => {
            const data = floats(dtype, bytesAt(file, 8 + length + from, to - from));
            if (data.length !== shape.reduce((product, size) => product * size, 1))
              throw new Error(`${name} is not as long as its shape`);
            return [name, { shape, data }];
          },
        ),
      );
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${messageOf(error)}`, {
      hint: 'Fetch the model again',
      cause: error,
    });
  }
}

function bytesAt(file: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  if (readSync(file, bytes, 0, length, at) !== length) throw new Error('it is cut off');
  return bytes;
}

function floats(dtype: string, bytes: Buffer): Float32Array {
  switch (dtype) {
    case 'F32':
      return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    case 'BF16':
      // The upper half of a float32.
      return Float32Array.from({ length: bytes.length / 2 }, (_, i) =>
        fromBits(bytes.readUInt16LE(2 * i) << 16),
      );
    case 'F16':
      return Float32Array.from({ length: bytes.length / 2 }, (_, i) => fromHalf(bytes.readUInt16LE(2 * i)));
    default:
      throw new Error(`its numbers are ${dtype}, and pgembedder reads F32, F16 and BF16`);
  }
}

const word = new DataView(new ArrayBuffer(4));

function fromBits(bits: number): number {
  word.setInt32(0, bits);
  return word.getFloat32(0);
}

/** IEEE 754 binary16: a sign, five bits of exponent, ten of fraction. */
function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}
