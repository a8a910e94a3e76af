import { codeOf } from '../errors.ts';

/** Of a text with a letter that the encoding of the database lacks. */
const UNTRANSLATABLE_CHARACTER = '22P05';

/**
 * Has a message kept in the database. Where its encoding lacks a letter of the message, that is kept with a question mark for
 * each letter beyond ASCII: an error that nobody can note would be tried again for ever.
 */
export async function inItsLetters<T>(
  keep: (lettered: (message: string) => string) => Promise<T>,
): Promise<T> {
  try {
    return await keep((message) => message);
  } catch (error) {
    if (codeOf(error) !== UNTRANSLATABLE_CHARACTER) throw error;
    return await keep((message) => message.replace(/[^\p{ASCII}]/gu, '?'));
  }
}
