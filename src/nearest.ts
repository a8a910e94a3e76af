/** Letters of a name that are compared. */
const COMPARED = 63;
/** How near a name is of which the beginning was typed, nearer than with two wrong letters; and one of which another part was. */
const BEGINNING = 3;
const INSIDE = 1_000;
/** Most names that are told. */
const MOST_TOLD = 3;

/**
 * `Did you mean "title"? `, or nothing where no name is near: a third of its letters may be wrong, or it is a part of one. What
 * stands before the first / or : of a name may be left out, as people do with models. Those that are equally near are all named,
 * three at most. embedder.did_you_mean in SQL does the same, and test/sql/nearest.test.ts runs one list of cases against both.
 */
export function didYouMean(wanted: string, names: readonly string[]): string {
  const typed = letters(wanted);
  const ranks = new Map(
    names.map((name) => [name, Math.min(rankOf(typed, name, 0), rankOf(typed, behind(name), 1))]),
  );
  const least = Math.min(...ranks.values());
  if (!Number.isFinite(least)) return '';
  const best = [...ranks].flatMap(([name, rank]) => (rank === least ? [name] : []));
  best.sort((a, b) => [...a].length - [...b].length || (a < b ? -1 : 1));
  const told = best.slice(0, MOST_TOLD).map((name) => `"${name}"`);
  return `Did you mean ${told.join(' or ')}? `;
}

/** How near a name is, the nearest first; infinite where it is not. @param cut 1 where the name's beginning was left out */
function rankOf(typed: readonly string[], name: string, cut: 0 | 1): number {
  const part = letters(name);
  if (part.length === 0) return Number.POSITIVE_INFINITY;
  const far = Math.abs(part.length - typed.length) <= 3 ? distance(typed, part) : Number.POSITIVE_INFINITY;
  const near = far <= Math.max(1, Math.floor(typed.length / 3)) && far < typed.length;
  return Math.min(near ? 2 * far + cut : Number.POSITIVE_INFINITY, partRank(typed, part, cut));
}

function partRank(typed: readonly string[], part: readonly string[], cut: 0 | 1): number {
  const at = part.join('').indexOf(typed.join(''));
  if (typed.length < 3 || at < 0) return Number.POSITIVE_INFINITY;
  return at === 0 ? BEGINNING + cut : INSIDE;
}

function behind(name: string): string {
  return /[/:](.+)$/s.exec(name)?.[1] ?? '';
}

function letters(name: string): string[] {
  return [...[...name].slice(0, COMPARED).join('').toLowerCase()];
}

/** How many letters must be put in, left out, exchanged or swapped with their neighbour to make one of the other. */
function distance(one: readonly string[], other: readonly string[]): number {
  let before: number[] = [];
  let above = Array.from({ length: other.length + 1 }, (_, column) => column);
  for (const [row, letter] of one.entries()) {
    const line = [row + 1];
    for (const [column, wanted] of other.entries()) {
      const swapped = row > 0 && column > 0 && letter === other[column - 1] && one[row - 1] === wanted;
      line.push(
        Math.min(
          line[column]! + 1,
          above[column + 1]! + 1,
          above[column]! + (letter === wanted ? 0 : 1),
          swapped ? before[column - 1]! + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    [before, above] = [above, line];
  }
  return above.at(-1)!;
}
