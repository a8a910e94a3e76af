import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { hintOf, isConflict, isConnectionError, isRowError } from '../../../src/database/errors.ts';
import { codeOf } from '../../../src/errors.ts';

function databaseError(code: string, message = 'refused', hint?: string): pg.DatabaseError {
  return Object.assign(new pg.DatabaseError(message, message.length, 'error'), { code, hint });
}
const networkError = (code: string) => Object.assign(new Error(code), { code });

describe('errors are told apart', () => {
  it.each([
    [databaseError('57P01'), 'connection'],
    [databaseError('57P03'), 'connection'],
    [databaseError('08006'), 'connection'],
    [databaseError('53300'), 'connection'],
    [networkError('ECONNREFUSED'), 'connection'],
    [networkError('EPIPE'), 'connection'],
    [networkError('ENOENT'), 'connection'],
    [new Error('Connection terminated unexpectedly'), 'connection'],
    [new Error('timeout exceeded when trying to connect'), 'connection'],
    [databaseError('40001'), 'conflict'],
    [databaseError('40P01'), 'conflict'],
    [databaseError('22P02'), 'row'],
    [databaseError('22000'), 'row'],
    [databaseError('23514'), 'row'],
    [databaseError('P0001'), 'row'],
    [databaseError('45000'), 'row'],
    [databaseError('UX001'), 'row'],
    [databaseError('42703'), 'other'],
    [databaseError('55P03'), 'other'],
    [databaseError('57014'), 'other'],
    [databaseError('25006'), 'other'],
    [databaseError('XX000'), 'other'],
    [databaseError('HV000'), 'other'],
    // A row's own words do not make it a connection's fault.
    [databaseError('42703', 'Connection terminated'), 'other'],
    [networkError('23'), 'other'],
    [new Error('refused'), 'other'],
    ['text', 'other'],
    [undefined, 'other'],
  ])('%s is of kind %s', (error, kind) => {
    expect(
      [
        isConnectionError(error) && 'connection',
        isConflict(error) && 'conflict',
        isRowError(error) && 'row',
      ].filter(Boolean),
    ).toEqual(kind === 'other' ? [] : [kind]);
  });

  it('codeOf and hintOf', () => {
    expect([
      codeOf(databaseError('22P02')),
      codeOf(networkError('EPIPE')),
      codeOf(new Error('x')),
      codeOf({ code: 7 }),
      codeOf(null),
    ]).toEqual(['22P02', 'EPIPE', '', '', '']);
    expect([
      hintOf(databaseError('1', 'm', 'do this')),
      hintOf(databaseError('1')),
      hintOf(new Error('x')),
    ]).toEqual(['do this', undefined, undefined]);
  });
});
