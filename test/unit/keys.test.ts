import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type ApiKey, loadConfig, type Scope, scopes } from '../../src/config.js';
import { keyOfSecret, principalOf, secretIn } from '../../src/http/keys.js';
import { prompt } from '../support/prompt.js';

const secret = 'hunter2-hunter2-hunter2';
const keyOf = (name: string, own: string, allowed: readonly Scope[] = ['read']): ApiKey => ({
  name,
  digest: createHash('sha256').update(own).digest(),
  scopes: allowed,
});

describe('a secret', () => {
  test.each([
    [`Bearer ${secret}`, secret],
    [`bearer ${secret}`, secret],
    [`BEARER   ${secret}`, secret],
    [`Basic ${btoa(`name:${secret}`)}`, secret],
    [`basic ${btoa(`:${secret}`)}`, secret],
    [`Basic ${btoa(`name:a:b`)}`, 'a:b'],
    [`Basic ${btoa('name:')}`, ''],
  ])('is read from "%s"', (header, read) => {
    expect(secretIn(header)).toBe(read);
  });

  test.each([
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Bearer a b',
    secret,
    `Token ${secret}`,
    `Basic ${btoa(secret)}`,
    'Basic %',
  ])('is not read from "%s"', (header) => {
    expect(secretIn(header)).toBeNull();
  });

  test('leads to its own key among many, and to none where it is nobody’s', () => {
    const keys = ['one', 'two', 'three'].map((name) => keyOf(name, `${secret}-${name}`));
    for (const key of keys) expect(keyOfSecret(keys, `${secret}-${key.name}`)).toBe(key);
    for (const wrong of ['', secret, `${secret}-`, `${secret}-onee`, `${secret}-ONE`, '\u0000', 'x'.repeat(100_000)]) {
      expect(keyOfSecret(keys, wrong)).toBeNull();
    }
    expect(keyOfSecret([], secret)).toBeNull();
  });
});

describe('a key', () => {
  const may = (...allowed: Scope[]) => {
    const principal = principalOf(keyOf('key', secret, allowed));
    return scopes.filter((scope) => principal.may(scope));
  };

  test('may do what its scope brings along, and no more', () => {
    expect(may('read')).toEqual(['read']);
    expect(may('enqueue')).toEqual(['enqueue']);
    expect(may('operate')).toEqual(['read', 'operate']);
    expect(may('admin')).toEqual(['read', 'enqueue', 'operate', 'admin']);
  });

  test('with several scopes may do what each brings along', () => {
    expect(may('read', 'enqueue')).toEqual(['read', 'enqueue']);
    expect(may('enqueue', 'operate')).toEqual(['read', 'enqueue', 'operate']);
    expect(may()).toEqual([]);
  });

  test('is for all jobs, or for those alone that a pattern of its fits', () => {
    const uses = (...jobs: string[]) => {
      const principal = principalOf({ ...keyOf('key', secret), ...(jobs.length > 0 && { jobs }) });
      const names = ['mail', 'mail-digest', 'e-mail-digest', 'report', 'reports'];
      return names.filter((name) => principal.mayUse(name));
    };
    expect(uses()).toHaveLength(5);
    expect(uses('mail-*')).toEqual(['mail-digest']);
    expect(uses('mail*', 'report')).toEqual(['mail', 'mail-digest', 'report']);
    expect(uses('*-digest')).toEqual(['mail-digest', 'e-mail-digest']);
    expect(uses('*ai*di*t')).toEqual(['mail-digest', 'e-mail-digest']);
    expect(uses('*')).toHaveLength(5);
    expect(uses('none')).toEqual([]);
    // However many stars stand there, it is decided at once.
    expect(uses(`${'*a'.repeat(20)}*b`)).toEqual([]);
  });

  test('does not hold the secret that it came from', () => {
    const { keys } = loadConfig({ RONDO_API_KEYS: `ops:${secret}:read` }).http;
    expect(JSON.stringify(keys)).not.toContain('hunter2');
    expect(keys).toEqual([keyOf('ops', secret)]);
  });
});

test('a pattern with many stars takes no time over a name that is none', prompt, () => {
  const { mayUse } = principalOf({ ...keyOf('shop', secret), jobs: ['*a*a*a*a*b'] });
  const startedAt = performance.now();
  expect(mayUse('a'.repeat(5_000))).toBe(false);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
  expect(mayUse('aaaaaab')).toBe(true);
});
