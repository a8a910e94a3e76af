import { describe, expect, it } from 'vitest';
import { FrontendReader } from '../../../src/embedded/frontend-reader.ts';
import { encode, encodeQuery } from '../../../src/embedded/protocol.ts';

describe('FrontendReader', () => {
  const messages = [
    encodeQuery('select 1'),
    encode('S'),
    encodeQuery('x'.repeat(5_000)),
    encode('H'),
    encode('X'),
  ];
  const bytes = Buffer.concat(messages);

  it.each([1, 2, 3, 4, 5, 6, 7, 64, 5_000, bytes.length])(
    'cuts messages out of chunks of %i bytes',
    (size) => {
      const reader = new FrontendReader();
      const found: Buffer[] = [];
      for (let start = 0; start < bytes.length; start += size) {
        reader.push(bytes.subarray(start, start + size));
        for (let message = reader.next(); message; message = reader.next()) found.push(message);
      }
      expect(found).toEqual(messages);
      expect(reader.next()).toBeUndefined();
    },
  );

  it('reads the start-up phase, which has no types, before the rest', () => {
    const ssl = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
    const reader = new FrontendReader();
    reader.push(Buffer.concat([ssl, messages[0]!]));
    expect(reader.nextStartup()).toEqual(ssl);
    expect(reader.next()).toEqual(messages[0]);
  });

  it.each([0, 3, -1, 0x7fffffff])('refuses a length of %i', (length) => {
    const reader = new FrontendReader();
    const header = Buffer.from([81, 0, 0, 0, 0]);
    header.writeInt32BE(length, 1);
    reader.push(header);
    expect(() => reader.next()).toThrow(`invalid message length ${length}`);
  });
});
