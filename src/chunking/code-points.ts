/**
 * Turns offsets in UTF-16 units, given in ascending order, into offsets in code points. A lone surrogate counts as
 * one. All calls together read the text once.
 */
export function codePointCursor(text: string): (offset: number) => number {
  let unit = 0;
  let points = 0;
  return (offset) => {
    while (unit < offset) {
      unit += splitsPair(text, unit + 1) ? 2 : 1;
      points++;
    }
    return points;
  };
}

/** Whether a cut at this offset would divide a surrogate pair. */
export function splitsPair(text: string, offset: number): boolean {
  const before = text.charCodeAt(offset - 1);
  const after = text.charCodeAt(offset);
  return before >= 0xd800 && before <= 0xdbff && after >= 0xdc00 && after <= 0xdfff;
}
