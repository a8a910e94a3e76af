/** The parts of PostgreSQL's wire protocol, version 3, that the front before the embedded Postgres must know. */

/** First bytes of the messages that have no type: 1234 in the high half, what is asked for in the low half. */
export const STARTUP_CODE = {
  protocol3: 3, // the high half: 3.0, and 3.2 whose only news is the length of the cancel key
  cancel: 80877102,
  ssl: 80877103,
  gss: 80877104,
} as const;

/** What ReadyForQuery says: idle, in a transaction, in a failed transaction. */
export type TransactionStatus = 'I' | 'T' | 'E';

/** The type of a message that has one. */
export function typeOf(message: Buffer): string {
  return String.fromCharCode(message[0] ?? 0);
}

/** A message of the given type. */
export function encode(type: string, ...parts: (string | Buffer)[]): Buffer {
  const body = Buffer.concat(
    parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part)),
  );
  const header = Buffer.alloc(5);
  header.write(type, 0, 'latin1');
  header.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([header, body]);
}

export const sync = encode('S');

export function encodeQuery(sql: string): Buffer {
  return encode('Q', sql);
}

/** ErrorResponse. A FATAL one tells the client that the connection ends with it. */
export function encodeError(
  severity: 'ERROR' | 'FATAL',
  code: string,
  message: string,
  hint?: string,
): Buffer {
  const fields = [`S${severity}`, `V${severity}`, `C${code}`, `M${message}`];
  if (hint) fields.push(`H${hint}`);
  return encode('E', ...fields, Buffer.from([0]));
}

/** The zero-terminated text that begins at `offset`. */
export function textAt(message: Buffer, offset: number): string {
  const end = message.indexOf(0, offset);
  return message.toString('utf8', offset, end < 0 ? message.length : end);
}

/** The parameters of a StartupMessage: `user`, `database` and settings. */
export function startupParameters(message: Buffer): Map<string, string> {
  const words = message.toString('utf8', 8).split('\0');
  const parameters = new Map<string, string>();
  for (let index = 0; index + 1 < words.length && words[index] !== ''; index += 2) {
    parameters.set(words[index]!, words[index + 1]!);
  }
  return parameters;
}

/** Cuts what a backend has sent into its messages. */
export function* backendMessages(output: Buffer): Generator<Buffer> {
  for (let start = 0; start < output.length; ) {
    const end = start + 1 + output.readInt32BE(start + 1);
    yield output.subarray(start, end);
    start = end;
  }
}
