import { Tensor } from 'onnxruntime-node';
import { type BatchTokens, longestOf } from '../wire/batch-tokens.ts';

/** The inputs that are known; a model that wants another cannot be run. */
export const KNOWN_INPUTS = ['input_ids', 'attention_mask', 'token_type_ids', 'position_ids'] as const;
export type KnownInput = (typeof KNOWN_INPUTS)[number];

/**
 * The input tensors of a batch, [rows, longest row] each; the rest of a shorter row is padding.
 * @param inputs the model's inputs and whether they are int32 (else int64, as usual)
 */
export function feedsFor(
  batch: BatchTokens,
  inputs: ReadonlyMap<KnownInput, boolean>,
  padTokenId: number,
): Record<string, Tensor> {
  const longest = longestOf(batch.lengths);
  const dims = [batch.lengths.length, longest];
  const feeds: Record<string, Tensor> = {};
  for (const [name, isInt32] of inputs) {
    const tensor = integerTensor(batch.lengths.length * longest, isInt32);
    if (name === 'position_ids') {
      fillPlaces(tensor, batch.lengths, longest);
    } else if (name !== 'token_type_ids') {
      fillRows(tensor, batch.lengths, longest, name === 'input_ids' ? batch.ids : null, padTokenId);
    } else if (batch.secondFrom) {
      fillTypes(tensor, batch.lengths, batch.secondFrom, longest);
    }
    feeds[name] = new Tensor(isInt32 ? 'int32' : 'int64', tensor.data, dims);
  }
  return feeds;
}

/** `words` are 32-bit words of `data`, `stride` of them for each number. */
interface IntegerTensor {
  readonly data: BigInt64Array | Int32Array;
  readonly words: Int32Array;
  readonly stride: number;
}

/**
 * Zeros for `count` numbers. int64 numbers are written as their low words, the high words staying 0: eight times
 * faster than through BigInts. It asks for a little-endian machine, and ONNX Runtime has no other.
 */
function integerTensor(count: number, isInt32: boolean): IntegerTensor {
  if (isInt32) {
    const words = new Int32Array(count);
    return { data: words, words, stride: 1 };
  }
  const data = new BigInt64Array(count);
  return { data, words: new Int32Array(data.buffer), stride: 2 };
}

/** Writes each row's ids and then padding, or for the mask (`ids` null) ones and then zeros. */
function fillRows(
  { words, stride }: IntegerTensor,
  lengths: Int32Array,
  longest: number,
  ids: Int32Array | null,
  padTokenId: number,
): void {
  const filler = ids ? padTokenId : 0;
  let source = 0;
  let target = 0;
  for (const length of lengths) {
    for (let column = 0; column < longest; column++, target += stride) {
      words[target] = column >= length ? filler : ids ? ids[source + column]! : 1;
    }
    source += length;
  }
}

/** Writes a one for each token of type 1; padding stays 0, as the reference has it. */
function fillTypes(
  { words, stride }: IntegerTensor,
  lengths: Int32Array,
  secondFrom: Int32Array,
  longest: number,
): void {
  lengths.forEach((length, row) => {
    for (let column = secondFrom[row]!; column < length; column++) {
      words[(row * longest + column) * stride] = 1;
    }
  });
}

/** Writes each token's place in its row, from 0; padding stays 0. */
function fillPlaces({ words, stride }: IntegerTensor, lengths: Int32Array, longest: number): void {
  lengths.forEach((length, row) => {
    for (let column = 1; column < length; column++) {
      words[(row * longest + column) * stride] = column;
    }
  });
}

/**
 * The memory of a decoder (keys and values of the tokens before), of which there is none: [rows, heads, 0, size] each.
 * @param shape as the model states it; sizes that it leaves open are names
 */
export function emptyMemory(type: Tensor.Type, shape: readonly (number | string)[], rows: number): Tensor {
  const [, heads, , size] = shape;
  return new Tensor(type, [], [rows, Number(heads), 0, Number(size)]);
}
