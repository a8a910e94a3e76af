import { describe, expect, it } from 'vitest';
import { entitiesOf, type ScoredToken } from '../../../src/tasks/entities.ts';

const labels = ['O', 'B-PER', 'I-PER', 'B-LOC', 'MISC-X'];

/** Tokens of three characters each; a `+` before the label says that it continues a word. */
function tokens(...given: [label: string, score: number][]): ScoredToken[] {
  return given.map(([label, score], index) => {
    const best = labels.indexOf(label.replace('+', ''));
    return {
      word: `t${index}`,
      start: index * 3,
      end: index * 3 + 3,
      continues: label.startsWith('+'),
      scores: labels.map((_, each) => (each === best ? score : (1 - score) / (labels.length - 1))),
    };
  });
}

function entities(strategy: Parameters<typeof entitiesOf>[1]['strategy'], given: ScoredToken[]) {
  const found = entitiesOf(given, { labels, strategy, join: (parts) => parts.join(' ') });
  return found.map((each) => [
    'entity' in each ? each.entity : each.entity_group,
    each.word,
    each.start,
    each.end,
    Number(each.score.toFixed(3)),
  ]);
}

describe('entities', () => {
  it('of single tokens keep their label, and O is left out', () => {
    expect(entities('none', tokens(['B-PER', 0.9], ['O', 0.9], ['I-PER', 0.6]))).toEqual([
      ['B-PER', 't0', 0, 3, 0.9],
      ['I-PER', 't2', 6, 9, 0.6],
    ]);
  });

  it('are joined when they are of a kind, and B- begins another', () => {
    const given = tokens(['B-PER', 0.9], ['I-PER', 0.7], ['B-PER', 0.8], ['I-PER', 0.8], ['B-LOC', 0.9]);
    expect(entities('simple', given)).toEqual([
      ['PER', 't0 t1', 0, 6, 0.8],
      ['PER', 't2 t3', 6, 12, 0.8],
      ['LOC', 't4', 12, 15, 0.9],
    ]);
  });

  it('are kept apart by an O between them', () => {
    const given = tokens(['B-PER', 0.9], ['O', 0.9], ['I-PER', 0.7]);
    expect(entities('simple', given).map(([, word]) => word)).toEqual(['t0', 't2']);
  });

  it('of a label with neither B- nor I- go on, and lose what is before the dash', () => {
    const given = tokens(['MISC-X', 0.9], ['MISC-X', 0.7]);
    expect(entities('simple', given)).toEqual([['X', 't0 t1', 0, 6, 0.8]]);
  });

  it('of words have the label of the first, the surest, or the mean of its tokens', () => {
    const given = tokens(['B-PER', 0.6], ['+B-LOC', 0.9], ['O', 0.9]);
    expect(entities('first', given)).toEqual([['PER', 't0 t1', 0, 6, 0.6]]);
    expect(entities('max', given)).toEqual([['LOC', 't0 t1', 0, 6, 0.9]]);
    expect(entities('average', given)).toEqual([['LOC', 't0 t1', 0, 6, 0.5]]);
  });

  it('of nothing are none', () => {
    expect(entities('simple', [])).toEqual([]);
    expect(entities('max', [])).toEqual([]);
  });
});
