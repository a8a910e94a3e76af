import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.ts';

describe('UserError', () => {
  it('is one line, whatever it quotes', () => {
    const error = new UserError('a file begins with "\u001b[2J\r\n\u0085x"', { hint: 'Mend\nit\u2028soon' });
    expect(error.message).toBe('a file begins with " [2J x"');
    expect(error.line).toBe('a file begins with " [2J x". Mend it soon');
  });
});
