import { expect, it } from 'vitest';
import { PreparedStatements } from '../../../src/embedded/prepared-statements.ts';
import { encode } from '../../../src/embedded/protocol.ts';

const noFormats = Buffer.from([0, 0, 0, 0, 0, 0]);
const parse = (name: string) => encode('P', name, 'select 1', Buffer.from([0, 0]));
const bind = (portal: string, name: string) => encode('B', portal, name, noFormats);
const about = (type: 'D' | 'C', kind: 'S' | 'P', name: string) => encode(type, Buffer.from(kind), name);

it('puts the connection before the names of statements', () => {
  const statements = new PreparedStatements(7);
  expect(statements.rename(parse('claim'))).toEqual(parse('connection_7_claim'));
  expect(statements.rename(bind('p', 'claim'))).toEqual(bind('p', 'connection_7_claim'));
  expect(statements.rename(about('D', 'S', 'claim'))).toEqual(about('D', 'S', 'connection_7_claim'));
  expect(statements.rename(about('C', 'S', 'claim'))).toEqual(about('C', 'S', 'connection_7_claim'));
});

it('leaves unnamed statements, portals and other messages as they are', () => {
  const statements = new PreparedStatements(7);
  const untouched = [
    parse(''),
    bind('p', ''),
    about('D', 'P', 'p'),
    about('C', 'P', 'p'),
    about('D', 'S', ''),
    encode('S'),
  ];
  for (const message of untouched) expect(statements.rename(message)).toEqual(message);
  expect(statements.closeAll()).toEqual([]);
});

it('closes what is left, once', () => {
  const statements = new PreparedStatements(7);
  for (const name of ['a', 'b', 'c']) statements.rename(parse(name));
  statements.rename(about('C', 'S', 'b'));
  const close = (name: string) => about('C', 'S', `connection_7_${name}`);
  expect(statements.closeAll()).toEqual([close('a'), close('c')]);
  expect(statements.closeAll()).toEqual([]);
});
