import { expect, test } from 'vitest';
import { withoutPassword } from '../../src/postgres/password.js';

const said = (url: string, text: string) => (withoutPassword(url, new Error(text)) as Error).message;

test('an error quotes no password of an address, as it is written there or as it is meant', () => {
  const url = 'postgres://app:p%40ss@db.example/app';
  expect(said(url, `cannot use ${url}: p@ss is wrong`)).toBe(
    'cannot use postgres://app:***@db.example/app: *** is wrong',
  );
  expect(said('postgres:///app?password=hush&host=/run', 'hush was refused')).toBe('*** was refused');
  expect(said('postgres://db.example/app', 'it is away')).toBe('it is away');
});

test('nor do its stack and what Postgres adds', () => {
  const error = Object.assign(new Error('no'), { detail: 'hush', stack: 'Error: hush at line 1' });
  expect(withoutPassword('postgres://app:hush@db.example/app', error)).toBe(error);
  expect(error).toMatchObject({ detail: '***', stack: 'Error: *** at line 1' });
});
