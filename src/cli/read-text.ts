import { text } from 'node:stream/consumers';

/** The text that an argument stands for: `-` is all of stdin, without the line break at its end. */
export async function readText(argument: string): Promise<string> {
  return argument === '-' ? (await text(process.stdin)).replace(/\r?\n$/, '') : argument;
}
