import { encode, textAt } from './protocol.ts';

const COPY_FROM_CLIENT = /^\s*copy\b[^;]*\bfrom\s+stdin\b/i;

/** Whether a Query message is a `COPY ... FROM STDIN`. */
export function isCopyFromClient(query: Buffer): boolean {
  const command = query.toString('latin1', 5, 64).trimStart();
  return /^copy\b/i.test(command) && COPY_FROM_CLIENT.test(textAt(query, 5));
}

/**
 * The CopyInResponse that PostgreSQL would send. The backend runs a statement in one go and cannot wait for more
 * input, so the front answers in its place, collects the data, and hands over the statement and all data at once.
 * The number of columns is left at 0: clients do not use it, and only the backend could know it.
 */
export function copyInResponse(query: Buffer): Buffer {
  const binary = /\bbinary\b/i.test(textAt(query, 5).replace(/^.*?\bfrom\s+stdin\b/is, ''));
  return encode('G', Buffer.from([binary ? 1 : 0, 0, 0]));
}
