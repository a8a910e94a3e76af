/** Whether a text has more than so many characters, as PostgreSQL counts them: by code points. */
export function isLonger(text: string, characters: number): boolean {
  if (text.length <= characters) return false;
  if (text.length > 2 * characters) return true;
  return [...text].length > characters;
}

/** Whether PostgreSQL can store a text: it takes neither NUL nor half of a surrogate pair. */
export function isStorable(text: string): boolean {
  return !/\0|\p{Surrogate}/u.test(text);
}
