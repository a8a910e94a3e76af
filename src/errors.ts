/**
 * An error that its reader can mend: `message` says what is wrong and where, `hint` says what to do about it.
 * The command line prints it as one line without a stack trace; every other error is a defect and keeps its trace.
 */
export class UserError extends Error {
  override readonly name: string = 'UserError';
  readonly hint: string | undefined;

  constructor(message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(oneLine(message), { cause: options.cause });
    this.hint = options.hint && oneLine(options.hint);
  }

  /** Message and hint as one line. */
  get line(): string {
    return this.hint ? `${this.message}. ${this.hint}` : this.message;
  }
}

/** What is quoted in an error may be a file's bytes: neither line ends nor what steers a terminal gets through. */
function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ');
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The SQLSTATE of an error from PostgreSQL, or the code of one from the network or the file system; '' for anything else. */
export function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}
