import { describe, expect, it } from 'vitest';
import { readConfig } from '../../../src/config.ts';
import { Tokens } from '../../../src/http/access/tokens.ts';

describe('tokens', () => {
  const tokens = new Tokens(
    readConfig({ PGEMBEDDER_HTTP_TOKENS: '# of the shop\ninfer:abc\n\n read+operate:d.e~f= infer:d.e~f= ' })
      .PGEMBEDDER_HTTP_TOKENS,
  );
  const status = (authorization: string | undefined, scope: 'infer' | 'read' | 'operate' | null) => {
    try {
      tokens.check(authorization, scope);
      return 200;
    } catch (error) {
      return (error as { status: number }).status;
    }
  };

  it('are for their scopes', () => {
    expect(status('Bearer abc', 'infer')).toBe(200);
    expect(status('bearer  abc', 'infer')).toBe(200);
    expect(status('Bearer abc', 'read')).toBe(403);
    expect(status('Bearer abc', null)).toBe(200);
    for (const scope of ['infer', 'read', 'operate'] as const)
      expect(status('Bearer d.e~f=', scope)).toBe(200);
  });

  it('have to be there and known', () => {
    for (const header of [
      undefined,
      '',
      'abc',
      'Basic abc',
      'Bearer',
      'Bearer abcd',
      'Bearer ab',
      'Bearer abc def',
    ])
      expect(status(header, null), header).toBe(401);
  });

  it('are not asked for where none is set', () => {
    expect(() => new Tokens([]).check(undefined, 'operate')).not.toThrow();
  });

  it.each(['abc', 'infer', 'write:abc', 'infer,read:abc', 'infer:a b$'])(
    'are refused in another form: %s',
    (setting) => {
      expect(() => readConfig({ PGEMBEDDER_HTTP_TOKENS: setting })).toThrow(/is not SCOPES:TOKEN/);
    },
  );

  it('are not told by the refusal of a setting', () => {
    expect(() => readConfig({ PGEMBEDDER_HTTP_TOKENS: 'inferr:s3cret' })).not.toThrow(/s3cret/);
  });
});

it('origins are origins', () => {
  expect(
    readConfig({ PGEMBEDDER_HTTP_CORS: ' https://a.example http://localhost:3000 ' }).PGEMBEDDER_HTTP_CORS,
  ).toEqual(['https://a.example', 'http://localhost:3000']);
  expect(() => readConfig({ PGEMBEDDER_HTTP_CORS: 'https://a.example/' })).toThrow(/PGEMBEDDER_HTTP_CORS/);
});
