import type { Entity } from './results.ts';
import { largestAt } from './scores.ts';

/** How tokens become entities; the names are those of transformers' pipeline. */
export const AGGREGATION_STRATEGIES = ['none', 'simple', 'first', 'average', 'max'] as const;
export type AggregationStrategy = (typeof AGGREGATION_STRATEGIES)[number];

/** A token with its scores. */
export interface ScoredToken {
  readonly word: string;
  /** Places in the text, in code points. */
  readonly start: number;
  readonly end: number;
  /** Whether it continues the word of the token before it. */
  readonly continues: boolean;
  /** From 0 to 1, by label. */
  readonly scores: readonly number[];
}

/** A token or word with its label. */
interface Labelled {
  readonly entity: string;
  readonly score: number;
  readonly word: string;
  readonly start: number;
  readonly end: number;
}

/** What entities are made with. */
export interface EntityRules {
  /** By place in `scores`. */
  readonly labels: readonly string[];
  readonly strategy: AggregationStrategy;
  /** Tokens as people read them. */
  join(tokens: readonly string[]): string;
}

/** The label that says 'nothing'; entities of it are left out. */
const NOTHING = 'O';

/**
 * The entities of a text, by the rules of transformers' pipeline:
 *
 * - none: each token by itself
 * - simple: neighbours of the same kind are one entity, unless a B- begins another; its score is their mean
 * - first, max, average: the same with whole words, whose label is that of their first token, of the token with the
 *   highest score, or of the means of their tokens' scores
 *
 * Entities of 'O' are left out at the end, so an O between two of a kind keeps them apart.
 */
export function entitiesOf(tokens: readonly ScoredToken[], rules: EntityRules): Entity[] {
  const { labels, strategy, join } = rules;
  if (strategy === 'none' || strategy === 'simple') {
    const labelled = tokens.map((token) => withLabel(token, token.scores, labels));
    return strategy === 'none'
      ? labelled.filter(({ entity }) => entity !== NOTHING)
      : groupsOf(labelled, join);
  }
  const words = runsOf(tokens, ({ continues }) => continues).map((parts) => {
    const { start } = parts[0]!;
    const { end } = parts.at(-1)!;
    const word = join(parts.map((part) => part.word));
    return withLabel({ word, start, end }, wordScores[strategy](parts), labels);
  });
  return groupsOf(words, join);
}

/** The scores of a word, from its tokens. */
const wordScores: Record<'first' | 'max' | 'average', (parts: readonly ScoredToken[]) => readonly number[]> =
  {
    first: (parts) => parts[0]!.scores,
    max: (parts) => parts[largestAt(parts.map(({ scores }) => Math.max(...scores)))]!.scores,
    average: (parts) => parts[0]!.scores.map((_, label) => mean(parts.map(({ scores }) => scores[label]!))),
  };

function withLabel(
  { word, start, end }: Pick<ScoredToken, 'word' | 'start' | 'end'>,
  scores: readonly number[],
  labels: readonly string[],
): Labelled {
  const best = largestAt(scores);
  return { entity: labels[best]!, score: scores[best]!, word, start, end };
}

function groupsOf(parts: readonly Labelled[], join: EntityRules['join']): Entity[] {
  const groups = runsOf(parts, (part, before) => {
    const [begins, kind] = kindOf(part.entity);
    return !begins && kind === kindOf(before.entity)[1];
  });
  return groups
    .map((group) => ({
      // Not `kind`: of a label that begins with neither B- nor I-, transformers takes what is after the first dash.
      entity_group: group[0]!.entity.replace(/^.*?-/s, ''),
      score: mean(group.map(({ score }) => score)),
      word: join(group.map(({ word }) => word)),
      start: group[0]!.start,
      end: group.at(-1)!.end,
    }))
    .filter(({ entity_group }) => entity_group !== NOTHING);
}

/** Whether a label begins an entity, and the kind without B- or I-. */
function kindOf(label: string): [begins: boolean, kind: string] {
  return [label.startsWith('B-'), /^[BI]-/.test(label) ? label.slice(2) : label];
}

/** Cuts a list where `goesOn` says that an item does not go on with the one before it. */
function runsOf<Item>(items: readonly Item[], goesOn: (item: Item, before: Item) => boolean): Item[][] {
  const runs: Item[][] = [];
  items.forEach((item, index) => {
    if (index > 0 && goesOn(item, items[index - 1]!)) {
      runs.at(-1)!.push(item);
    } else {
      runs.push([item]);
    }
  });
  return runs;
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}
