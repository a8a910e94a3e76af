/**
 * Everybody on the machine can see how a program was called, by `ps`. So a password in `--database-url` is taken out of what the
 * system shows, as far as it can be (Linux and the BSDs, once the program runs): DATABASE_URL and its file are never seen.
 * @param args what the program was called with
 */
export function hidePasswords(args: readonly string[]): void {
  const shown = args.map(withoutPassword);
  if (shown.some((arg, index) => arg !== args[index])) process.title = `pgembedder ${shown.join(' ')}`;
}

function withoutPassword(arg: string): string {
  return arg.replace(/(:\/\/[^:/@\s]*):.*@/, '$1:***@').replace(/([?&]password=)[^&\s]*/g, '$1***');
}
