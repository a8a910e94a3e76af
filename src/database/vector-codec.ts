import { type SparseVector, sparseText } from '../sparse-vector.ts';

/**
 * pgvector's binary format. One connection wrote 37,600 rows/s with it and 5,800 with text (docs/decisions.md, Queue 1).
 *
 * An array in PostgreSQL's binary format (array_recv in src/backend/utils/adt/arrayfuncs.c) is: int32 number of
 * dimensions, int32 whether it holds nulls, int32 element type; for each dimension int32 length, int32 lower bound;
 * then for each element int32 byte length (-1: null) and its bytes. A vector (vector_recv in pgvector's src/vector.c)
 * is int16 dimensions, int16 zero, then that many float4. All big-endian.
 */

const ARRAY_HEADER_BYTES = 20;
const VECTOR_HEADER_BYTES = 4;

/**
 * Encodes vectors as a parameter of type `vector[]`; null stays null.
 * @param vectors one per row; each [dimensions] float32
 * @param vectorOid the oid of the type `vector` in this database
 */
export function encodeVectors(vectors: readonly (Float32Array | null)[], vectorOid: number): Buffer {
  let size = ARRAY_HEADER_BYTES;
  for (const vector of vectors) size += 4 + (vector ? VECTOR_HEADER_BYTES + 4 * vector.length : 0);

  // Every byte is written below.
  const buffer = Buffer.allocUnsafe(size);
  // setFloat32 of a DataView is three times as fast as writeFloatBE of a Buffer.
  const view = new DataView(buffer.buffer, buffer.byteOffset, size);
  view.setInt32(0, vectors.length === 0 ? 0 : 1);
  view.setInt32(4, vectors.includes(null) ? 1 : 0);
  view.setUint32(8, vectorOid);
  view.setInt32(12, vectors.length);
  view.setInt32(16, 1);
  if (vectors.length === 0) return buffer.subarray(0, 12);

  let at = ARRAY_HEADER_BYTES;
  for (const vector of vectors) {
    if (!vector) {
      view.setInt32(at, -1);
      at += 4;
      continue;
    }
    view.setInt32(at, VECTOR_HEADER_BYTES + 4 * vector.length);
    view.setInt16(at + 4, vector.length);
    view.setInt16(at + 6, 0);
    at += 8;
    for (let i = 0; i < vector.length; i++, at += 4) view.setFloat32(at, vector[i]!);
  }
  return buffer;
}

/** A vector as pgvector's text: `[0.1,0.2]`, or `{1:0.1}/2` of a sparse one. For a single query vector, where speed does not matter. */
export function vectorText(vector: Float32Array | SparseVector): string {
  return vector instanceof Float32Array ? `[${vector.join(',')}]` : sparseText(vector);
}
