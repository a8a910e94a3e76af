import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { retrying } from '../../../src/database/retry.ts';

const failure = (code: string) => Object.assign(new pg.DatabaseError(code, 1, 'error'), { code });

/** A query that fails with these codes, one after the other, and then answers. */
function failing(...codes: string[]) {
  let calls = 0;
  const query = () => {
    const code = codes[calls++];
    return code === undefined ? Promise.resolve('answer') : Promise.reject(failure(code));
  };
  return { query, calls: () => calls };
}

describe('retrying', () => {
  it('repeats while the server is away or another transaction is in the way, and tells of the former', async () => {
    const { query, calls } = failing('57P01', '40001', 'ECONNREFUSED');
    const told: [string, number][] = [];
    expect(await retrying(query, { onRetry: (error, attempt) => told.push([error.message, attempt]) })).toBe(
      'answer',
    );
    expect(calls()).toBe(4);
    expect(told).toEqual([
      ['57P01', 1],
      ['ECONNREFUSED', 3],
    ]);
  });

  it('throws any other error at once', async () => {
    const { query, calls } = failing('42703');
    await expect(retrying(query)).rejects.toMatchObject({ code: '42703' });
    expect(calls()).toBe(1);
  });

  it('ends when it is told to', async () => {
    const stop = new AbortController();
    const query = () => Promise.reject(failure('57P03'));
    const end = retrying(query, { signal: stop.signal, onRetry: () => stop.abort(new Error('enough')) });
    await expect(end).rejects.toThrow('enough');
  });
});
