import { describe, expect, it } from 'vitest';
import { readConfig } from '../../../src/config.ts';
import { httpAddress, isDefaultAddress } from '../../../src/http/address.ts';

describe('httpAddress', () => {
  it.each([
    ['127.0.0.1:8089', { host: '127.0.0.1', port: 8089 }],
    ['127.1.2.3:0', { host: '127.1.2.3', port: 0 }],
    ['localhost:80', { host: 'localhost', port: 80 }],
    ['[::1]:9', { host: '::1', port: 9 }],
  ])('takes %s without a token', (setting, address) => {
    expect(httpAddress(setting, { tokens: [], open: false })).toEqual(address);
  });

  it.each([
    '0.0.0.0:8089',
    '[::]:8089',
    '10.0.0.7:1',
    'worker.example:1',
    'localhost.example:1',
    '[::ffff:8.8.8.8]:1',
  ])('refuses %s without a token, unless told to', (setting) => {
    expect(() => httpAddress(setting, { tokens: [], open: false })).toThrow(
      `PGEMBEDDER_HTTP=${setting} is open to other machines, and no token is set`,
    );
    expect(() => httpAddress(setting, { tokens: [], open: false })).toThrow(/no token is set/);
    expect(
      httpAddress(setting, { tokens: [{ token: 'secret', scopes: ['read'] }], open: false }),
    ).not.toBeNull();
    expect(httpAddress(setting, { tokens: [], open: true })).not.toBeNull();
  });

  it('is null for off', () => {
    expect(httpAddress('off', { tokens: [], open: false })).toBeNull();
  });

  it('knows the default address', () => {
    const byDefault = httpAddress(readConfig({}).PGEMBEDDER_HTTP, { tokens: [], open: false })!;
    expect(byDefault).toEqual({ host: '127.0.0.1', port: 8089 });
    expect(isDefaultAddress(byDefault)).toBe(true);
    expect(isDefaultAddress({ ...byDefault, port: 8090 })).toBe(false);
    expect(isDefaultAddress({ ...byDefault, host: '0.0.0.0' })).toBe(false);
  });
});

describe('the setting PGEMBEDDER_HTTP', () => {
  it.each([
    '8089',
    ':8089',
    '127.0.0.1',
    'http://127.0.0.1:8089',
    '::1:8089',
    'on',
    '127.0.0.1:port',
    '127.0.0.1:70000',
  ])('is not %s', (setting) => {
    expect(() => readConfig({ PGEMBEDDER_HTTP: setting })).toThrow(
      'PGEMBEDDER_HTTP: write it as host:port, [::1]:port for IPv6, or off',
    );
  });
});
