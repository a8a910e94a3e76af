/** A vector that tells texts apart: FNV-1a of the text, and a generator of Lehmer's. */
export function vectorOf(text: string): Float32Array {
  let state = 2_166_136_261;
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 16_777_619);
  let seed = (state >>> 0) % 2_147_483_646;
  return Float32Array.from({ length: 384 }, () => {
    seed = ((seed + 1) * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647 - 0.5;
  });
}
