import { expect, it } from 'vitest';
import { Subscriptions } from '../../../src/embedded/notifications.ts';
import { encode, encodeQuery } from '../../../src/embedded/protocol.ts';

const notification = (channel: string) => encode('A', Buffer.alloc(4), channel, 'payload');

it.each([
  ['listen jobs', 'jobs'],
  ['LISTEN Jobs;', 'jobs'],
  [' listen "Mixed ""Case""" ', 'Mixed "Case"'],
  ['listen "select 1; listen b"', 'select 1; listen b'],
])('%s listens on that channel alone', (sql, channel) => {
  const subscriptions = new Subscriptions();
  expect(subscriptions.observe(encodeQuery(sql))).toEqual(encodeQuery(sql));
  expect(subscriptions.wants(notification(channel))).toBe(true);
  expect(subscriptions.wants(notification('other'))).toBe(false);
});

it('keeps an UNLISTEN from the backend, where others may listen on the same channel', () => {
  const subscriptions = new Subscriptions();
  for (const channel of ['a', 'b', 'c']) subscriptions.observe(encodeQuery(`listen ${channel}`));
  expect(subscriptions.observe(encodeQuery('unlisten a'))).toEqual(
    encodeQuery('unlisten pgembedder_no_channel'),
  );
  expect(['a', 'b', 'c'].map((channel) => subscriptions.wants(notification(channel)))).toEqual([
    false,
    true,
    true,
  ]);
  subscriptions.observe(encodeQuery('UNLISTEN *'));
  expect(subscriptions.wants(notification('b'))).toBe(false);
});

it('does not take other statements for it', () => {
  const subscriptions = new Subscriptions();
  for (const sql of ["select 'listen a'", 'listening a', 'listen', 'listen a b', '']) {
    expect(subscriptions.observe(encodeQuery(sql))).toEqual(encodeQuery(sql));
  }
  expect(subscriptions.wants(notification('a'))).toBe(false);
});
