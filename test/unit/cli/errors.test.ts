import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { addressOf, explainConnection, oneLineOf, reportError, UsageError } from '../../../src/cli/errors.ts';
import { UserError } from '../../../src/errors.ts';

function databaseError(message: string, fields: Partial<pg.DatabaseError>): pg.DatabaseError {
  return Object.assign(new pg.DatabaseError(message, 0, 'error'), fields);
}

describe('reportError', () => {
  it('gives a user error one line', () => {
    const error = new UserError('model x\nis missing.', { hint: 'Fetch it.' });
    expect(reportError(error)).toMatchObject({
      text: 'pgembedder: model x is missing. Fetch it',
      exitCode: 1,
    });
  });

  it('gives wrong use exit code 2', () => expect(reportError(new UsageError('no')).exitCode).toBe(2));

  it("gives PostgreSQL's message and hint", () => {
    const error = databaseError('no such thing', { code: '42704', hint: 'Make it.' });
    expect(reportError(error)).toMatchObject({ text: 'pgembedder: no such thing. Make it', exitCode: 1 });
  });

  it('has a hint where PostgreSQL has none', () => {
    expect(reportError(databaseError('password authentication failed', { code: '28P01' })).text).toMatch(
      /Check user/,
    );
  });

  it('keeps the trace of a defect', () => {
    expect(reportError(new TypeError('x is undefined')).text).toMatch(
      /defect[^\n]*\nTypeError: x is undefined\n +at /,
    );
  });
});

describe('oneLineOf', () => {
  it('leaves an empty hint out', () => expect(oneLineOf('a', '')).toBe('pgembedder: a'));
});

describe('explainConnection', () => {
  const url = 'postgres://me:secret@db.example:6432/x';
  const refused = Object.assign(new Error('connect ECONNREFUSED'), {
    code: 'ECONNREFUSED',
    syscall: 'connect',
  });

  it('names host and port, and no password', () => {
    const { text } = reportError(explainConnection(refused, url));
    expect(text).toMatch(/^pgembedder: cannot reach PostgreSQL at db\.example:6432: nobody listens there\. /);
    expect(text).not.toContain('secret');
  });

  it('knows an address of several, which has no message', () => {
    const error = Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' });
    expect(reportError(explainConnection(error, url)).text).toContain('nobody listens there');
  });

  it('leaves a file that is missing alone', () => {
    const error = Object.assign(new Error('ENOENT: open x'), { code: 'ENOENT', syscall: 'open' });
    expect(explainConnection(error, url)).toBe(error);
  });

  it('knows a socket', () => expect(addressOf({ host: '/run/x', port: 5432 })).toBe('/run/x (port 5432)'));
});
