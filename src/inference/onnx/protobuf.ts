/**
 * The little of the protobuf wire format that is needed to look at an ONNX file and to add to it.
 * https://protobuf.dev/programming-guides/encoding/: a message is a row of fields, each a tag (number << 3 | wire
 * type, as a varint) and a value.
 */

/** Wire types: a varint, eight bytes, a length and that many bytes, four bytes. */
const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** One field of a message: `bytes` for a string, bytes or nested message, `value` for a varint. */
export interface Field {
  readonly number: number;
  readonly bytes: Uint8Array | null;
  /** Exact up to 2^53; 0 for fields that are not varints. */
  readonly value: number;
}

/** Scale of the tenth byte of a varint, which is its last. */
const LONGEST_VARINT = 128 ** 9;

/** Goes through the fields of a message. Nested messages are not entered. @throws Error for bytes that are no message */
export function* fieldsOf(message: Uint8Array): Generator<Field> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; at < message.length; scale *= 128) {
      if (scale > LONGEST_VARINT) {
        throw new Error('it holds a number of more than ten bytes');
      }
      const byte = message[at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        return value;
      }
    }
    throw new Error('the file ends within a number');
  };
  while (at < message.length) {
    const tag = varint();
    const type = tag & 7;
    const number = Math.floor(tag / 8);
    if (type === wire.varint) {
      yield { number, bytes: null, value: varint() };
      continue;
    }
    const length =
      type === wire.bytes ? varint() : type === wire.fixed64 ? 8 : type === wire.fixed32 ? 4 : -1;
    if (length < 0 || at + length > message.length) {
      throw new Error(length < 0 ? `unknown wire type ${type}` : 'the file ends within a field');
    }
    yield { number, bytes: message.subarray(at, at + length), value: 0 };
    at += length;
  }
}

/** The nested messages (or strings) that a message holds under this number. */
export function nestedIn(message: Uint8Array, number: number): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (const field of fieldsOf(message)) {
    if (field.number === number && field.bytes) {
      found.push(field.bytes);
    }
  }
  return found;
}

/** The varint a message holds under this number, the last one as protobuf has it, or null. */
export function numberIn(message: Uint8Array, number: number): number | null {
  let found: number | null = null;
  for (const field of fieldsOf(message)) {
    if (field.number === number && field.bytes === null) {
      found = field.value;
    }
  }
  return found;
}

/** The string a message holds under this number, or ''. */
export function stringIn(message: Uint8Array, number: number): string {
  return Buffer.from(nestedIn(message, number).at(-1) ?? []).toString();
}

/** A varint field. `value` is a natural number below 2^53. */
export function varintField(number: number, value: number): Uint8Array {
  return Uint8Array.from([...varint(number * 8 + wire.varint), ...varint(value)]);
}

/** A string field or, from parts, a nested message. */
export function bytesField(number: number, ...content: (string | Uint8Array)[]): Uint8Array {
  const body = Buffer.concat(content.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  return Buffer.concat([Uint8Array.from([...varint(number * 8 + wire.bytes), ...varint(body.length)]), body]);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return bytes;
}
