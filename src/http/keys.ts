import { hash, timingSafeEqual } from 'node:crypto';
import type { ApiKey, Scope } from '../config.js';

/** Who asks, and what for. */
export interface Principal {
  readonly name: string;
  readonly key: ApiKey;
  may(scope: Scope): boolean;
  /** Whether it is for some jobs alone. */
  readonly restricted: boolean;
  mayUse(job: string): boolean;
}

/** What a scope brings along: who may operate may look, and an admin may all. */
const included: Record<Scope, readonly Scope[]> = {
  read: ['read'],
  enqueue: ['enqueue'],
  operate: ['operate', 'read'],
  admin: ['admin', 'operate', 'enqueue', 'read'],
};

export function principalOf(key: ApiKey): Principal {
  const scopes = new Set(key.scopes.flatMap((scope) => included[scope]));
  const patterns = key.jobs?.map(matching);
  return {
    name: key.name,
    key,
    may: (scope) => scopes.has(scope),
    restricted: patterns !== undefined,
    // No name is longer, and a pattern with several stars would take its time over one.
    mayUse: (job) => patterns === undefined || (job.length <= 64 && patterns.some((pattern) => pattern.test(job))),
  };
}

/** `mail-*` as an expression: names have no letters that mean something in one. */
function matching(pattern: string): RegExp {
  return new RegExp(`^${pattern.replaceAll(/\*+/g, '.*')}$`);
}

/** The key that a secret belongs to. Every key is compared, each in constant time: the answer's delay tells nothing. */
export function keyOfSecret(keys: readonly ApiKey[], secret: string): ApiKey | null {
  const digest = hash('sha256', secret, 'buffer');
  let found: ApiKey | null = null;
  for (const key of keys) if (timingSafeEqual(key.digest, digest)) found = key;
  return found;
}

/** The secret in an Authorization header: `Bearer <secret>`, or Basic with the secret as the password. */
export function secretIn(authorization: string | undefined): string | null {
  const [, scheme = '', value = ''] = /^(\w+) +(\S+)$/.exec(authorization ?? '') ?? [];
  if (scheme.toLowerCase() === 'bearer') return value;
  if (scheme.toLowerCase() !== 'basic') return null;
  const text = Buffer.from(value, 'base64').toString('utf8');
  return text.includes(':') ? text.slice(text.indexOf(':') + 1) : null;
}
