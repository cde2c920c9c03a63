import { createHash } from 'node:crypto';
import type { Request, Response } from 'express';
import { describe, expect, test } from 'vitest';
import type { ApiKey } from '../../src/config.js';
import { createSessions } from '../../src/http/session.js';

const keyOf = (name: string, secret: string): ApiKey => ({
  name,
  digest: createHash('sha256').update(secret).digest(),
  scopes: ['read'],
});
const ops = keyOf('ops', 'one');
const look = keyOf('look', 'two');
const start = Date.UTC(2026, 10, 21);
const hours = 3_600_000;

function begin(
  key = ops,
  { headers = {}, secure = false }: { headers?: Record<string, string>; secure?: boolean } = {},
) {
  let cookie = { name: '', value: '', options: {} as Record<string, unknown> };
  const response = {
    cookie: (name: string, value: string, options: Record<string, unknown>) => {
      cookie = { name, value, options };
    },
  } as unknown as Response;
  const sessions = createSessions(
    () => [ops, look],
    () => start,
    () => 'shared',
  );
  sessions.begin({ headers, secure } as unknown as Request, response, key);
  return cookie;
}

function keyOfCookie(cookie: string, { keys = [ops, look], now = start, secret = 'shared' } = {}): ApiKey | null {
  return createSessions(
    () => keys,
    () => now,
    () => secret,
  ).keyOf({ headers: { cookie } } as unknown as Request);
}

describe('a session', () => {
  const { name, value, options } = begin();
  const cookie = `${name}=${value}`;

  test('is its key’s, wherever its cookie stands among others', () => {
    for (const sent of [cookie, `a=b; ${cookie}`, `a=b;${cookie}; c=d`, `x${cookie}; ${cookie}`]) {
      expect(keyOfCookie(sent)).toBe(ops);
    }
    expect(keyOfCookie(`x${cookie}`)).toBeNull();
  });

  test('is out of reach for scripts and other sites, and holds for 12 hours', () => {
    expect(options).toEqual({ httpOnly: true, sameSite: 'strict', secure: false, path: '/', maxAge: 12 * hours });
    expect(keyOfCookie(cookie, { now: start + 12 * hours - 1 })).toBe(ops);
    expect(keyOfCookie(cookie, { now: start + 12 * hours })).toBeNull();
  });

  test('stays on TLS where it began there, whatever a header says that no proxy of ours sent', () => {
    expect(begin(ops, { secure: true }).options).toMatchObject({ secure: true });
    expect(begin(ops, { headers: { 'x-forwarded-proto': 'https' } }).options).toMatchObject({ secure: false });
  });

  test('cannot be made by who knows the digest of a key alone, as it stands in a file of keys', () => {
    expect(keyOfCookie(cookie, { secret: 'another' })).toBeNull();
    expect(keyOfCookie(cookie, { secret: '' })).toBeNull();
  });

  test('needs no escapes in its cookie, and does not show the secret or its digest', () => {
    expect(value).toMatch(/^[\w.-]+$/);
    expect(value).not.toContain('one');
    expect(value).not.toContain(ops.digest.toString('base64url'));
  });

  test('ends with its key, or where that has another secret', () => {
    expect(keyOfCookie(cookie, { keys: [look] })).toBeNull();
    expect(keyOfCookie(cookie, { keys: [keyOf('ops', 'changed')] })).toBeNull();
    expect(keyOfCookie(cookie, { keys: [] })).toBeNull();
  });

  const [owner, expiresAt, signature] = value.split('.');
  test.each([
    ['another name', `look.${expiresAt}.${signature}`],
    ['a later end', `${owner}.${Number(expiresAt) + 1}.${signature}`],
    ['an end that is never reached', `${owner}.Infinity.${signature}`],
    ['the same end in other figures', `${owner}.${Number(expiresAt).toExponential()}.${signature}`],
    ['no signature', `${owner}.${expiresAt}.`],
    ['no signature at all', `${owner}.${expiresAt}`],
    ['a signature cut short', value.slice(0, -1)],
    ['a signature with a letter changed', value.slice(0, -2) + (value.at(-2) === 'A' ? 'B' : 'A') + value.at(-1)],
    ['escapes that cannot be read', '%'],
    ['nothing', ''],
  ])('is refused with %s', (_what, tampered) => {
    expect(keyOfCookie(`${name}=${tampered}`)).toBeNull();
  });
});
