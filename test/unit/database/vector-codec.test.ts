import { describe, expect, it } from 'vitest';
import { encodeVectors, vectorText } from '../../../src/database/vector-codec.ts';

const OID = 16_400;
const header = (dimensions: number, nulls: number, length: number) =>
  [dimensions, nulls, OID, length, 1].map((value) => value.toString(16).padStart(8, '0')).join('');

describe('encodeVectors', () => {
  it.each<[vectors: (Float32Array | null)[], hex: string]>([
    // No elements: the format has no dimensions then.
    [[], header(0, 0, 0).slice(0, 24)],
    [[Float32Array.of(1)], `${header(1, 0, 1)}00000008${'0001'}0000${'3f800000'}`],
    [[null], `${header(1, 1, 1)}ffffffff`],
    [
      [Float32Array.of(-2, 0.5), null, Float32Array.of(0, 1e-45)],
      `${header(1, 1, 3)}0000000c00020000c00000003f000000ffffffff0000000c000200000000000000000001`,
    ],
  ])('%j', (vectors, hex) => {
    expect(encodeVectors(vectors, OID).toString('hex')).toBe(hex);
  });

  it('writes what lies in the middle of a shared buffer', () => {
    const shared = Float32Array.of(9, 1, 2, 9);
    expect(encodeVectors([shared.subarray(1, 3)], OID)).toEqual(encodeVectors([Float32Array.of(1, 2)], OID));
  });

  it('takes an oid above 2^31', () => {
    expect(encodeVectors([null], 4_000_000_000).readUInt32BE(8)).toBe(4_000_000_000);
  });
});

describe('vectorText', () => {
  it('is as pgvector reads it', () => {
    expect(vectorText(Float32Array.of(0.5, -1, 1e-7))).toBe('[0.5,-1,1.0000000116860974e-7]');
  });
});
