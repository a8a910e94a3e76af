import { expect, it } from 'vitest';
import { copyInResponse, isCopyFromClient } from '../../../src/embedded/copy-in.ts';
import { encodeQuery } from '../../../src/embedded/protocol.ts';

it.each([
  ['copy t from stdin', true],
  ['  COPY public.t (a, "b")\n  FROM STDIN WITH (FORMAT csv)', true],
  ['copy t to stdout', false],
  ["copy t from '/file'", false],
  ['select 1; copy t from stdin', false],
  ["insert into t values ('copy t from stdin')", false],
])('%s: %s', (sql, expected) => {
  expect(isCopyFromClient(encodeQuery(sql))).toBe(expected);
});

it('says whether the data is binary', () => {
  const format = (sql: string) => copyInResponse(encodeQuery(sql))[5];
  expect(format('copy "binary" from stdin')).toBe(0);
  expect(format('copy t from stdin (format binary)')).toBe(1);
});
