import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { type Problem, RondoError } from '../errors.js';

export const scopes = ['read', 'enqueue', 'operate', 'admin'] as const;
export type Scope = (typeof scopes)[number];

/** A key of the API. The secret itself is forgotten as soon as it is read. */
export interface ApiKey {
  readonly name: string;
  /** SHA-256 of the secret. */
  readonly digest: Buffer;
  readonly scopes: readonly Scope[];
  /** Patterns of the job names that it is for, with `*` for any letters; all jobs where there are none. */
  readonly jobs?: readonly string[];
}

export function readApiKeys(text: string, context: z.RefinementCtx): ApiKey[] {
  const entries = text.split(',').filter((entry) => entry.trim() !== '');
  // Never the entry itself: whichever part is wrong, a secret is near.
  const refuse = (index: number, message: string) => context.addIssue({ code: 'custom', path: [index], message });
  return readKeys(entries, inEnvironment, refuse);
}

/**
 * Reads a file of keys, one at least: a line each, the secret as its SHA-256; what begins with `#` is for people.
 *
 * @throws RondoError `config-invalid` with all lines that are wrong, none of them shown
 */
export function readKeysFile(file: string): ApiKey[] {
  const refuse = (problems: readonly Problem[]) => new RondoError('config-invalid', '', { problems });
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const got = String((error as { code?: string }).code);
    throw refuse([{ where: 'RONDO_API_KEYS_FILE', expected: 'a file that can be read', got }]);
  }
  const lines = text.split(/\r?\n/).map((line, index) => ({ line: line.trim(), number: index + 1 }));
  const given = lines.filter(({ line }) => line !== '' && !line.startsWith('#'));
  const problems: Problem[] = [];
  const entries = given.map(({ line }) => line);
  const keys = readKeys(entries, inFile, (index, expected) => {
    const where = `RONDO_API_KEYS_FILE line ${given[index]?.number}`;
    problems.push({ where, expected, got: '(not shown)' });
  });
  // Without a key it would stand for the one-time key, and not be read again.
  if (keys.length === 0)
    problems.push({ where: 'RONDO_API_KEYS_FILE', expected: 'a file with a key in it', got: 'none' });
  if (problems.length > 0) throw refuse(problems);
  return keys;
}

/** The keys of the file, where one is named, and what is wrong with it. */
export function givenKeys({ RONDO_API_KEYS: keys, RONDO_API_KEYS_FILE: file }: Record<string, string | undefined>): {
  readonly fromFile: readonly ApiKey[];
  readonly problems: readonly Problem[];
} {
  if (!file) return { fromFile: [], problems: [] };
  const expected = 'either RONDO_API_KEYS or a file of them';
  if (keys) return { fromFile: [], problems: [{ where: 'RONDO_API_KEYS_FILE', expected, got: 'both' }] };
  try {
    return { fromFile: readKeysFile(file), problems: [] };
  } catch (error) {
    if (!(error instanceof RondoError)) throw error;
    return { fromFile: [], problems: error.problems };
  }
}

/** Without a key, only this machine is let in, and not in production. */
export function missingKeys(given: Record<string, string | undefined>): Problem[] {
  if (/[^\s,]/.test(given.RONDO_API_KEYS ?? '')) return [];
  const reason =
    given.NODE_ENV === 'production'
      ? 'NODE_ENV=production'
      : !loopback.test(given.HOST ?? 'localhost') && `HOST=${given.HOST}`;
  return reason ? [{ where: 'RONDO_API_KEYS', expected: `at least one key, with ${reason}`, got: 'nothing' }] : [];
}

export const jobPatternExpected = 'patterns of job names, such as mail-*|report: small letters, digits, hyphens and *';

export function isJobPattern(pattern: string): boolean {
  return /^[a-z0-9*-]{1,64}$/.test(pattern);
}

/** How a key stands in a setting: what its second part is. */
interface KeyFormat {
  readonly shape: string;
  /** What is wrong with the second part, or null. */
  faultOf(part: string): string | null;
  digestOf(part: string): Buffer;
}

const shortestSecret = 16;

const inEnvironment: KeyFormat = {
  shape: 'name:secret:scope|scope, or name:secret:scope|scope:pattern|pattern',
  faultOf(secret) {
    if (!/^[A-Za-z0-9_-]+$/.test(secret)) return "a secret in base64url's letters";
    return secret.length < shortestSecret ? `a secret of at least ${shortestSecret} characters` : null;
  },
  digestOf: (secret) => createHash('sha256').update(secret).digest(),
};

const inFile: KeyFormat = {
  shape: 'name:sha256:scope|scope, or name:sha256:scope|scope:pattern|pattern',
  faultOf(hash) {
    if (/^[0-9a-f]{64}$/i.test(hash)) return null;
    return 'the SHA-256 of the secret in 64 hex digits, never the secret: `rondo keys new` makes both';
  },
  digestOf: (hash) => Buffer.from(hash, 'hex'),
};

function readKeys(entries: readonly string[], format: KeyFormat, refuse: (index: number, why: string) => void) {
  const names = new Set<string>();
  const digests = new Set<string>();
  return entries.map((entry, index): ApiKey => {
    const [name = '', part = '', given = '', patterns, ...rest] = entry.trim().split(':');
    const scopesAsked = given.split('|');
    const asked = scopesAsked.filter((scope): scope is Scope => scopes.some((known) => known === scope));
    const jobs = patterns?.split('|');
    const digest = format.digestOf(part);
    const faultOfPart = () =>
      format.faultOf(part) ?? (digests.has(digest.toString('hex')) ? 'a secret of its own' : null);
    if (rest.length > 0 || !part || !given) refuse(index, format.shape);
    else if (!/^[a-z0-9][a-z0-9-]{0,63}$/.test(name)) refuse(index, 'a name of small letters, digits and hyphens');
    else if (names.has(name)) refuse(index, 'a name of its own');
    else if (asked.length !== scopesAsked.length) refuse(index, `scopes among ${scopes.join(', ')}`);
    else if (jobs && !jobs.every(isJobPattern)) refuse(index, jobPatternExpected);
    else if (faultOfPart()) refuse(index, String(faultOfPart()));
    names.add(name);
    digests.add(digest.toString('hex'));
    return { name, digest, scopes: asked, ...(jobs && { jobs }) };
  });
}

const loopback = /^(localhost|127(\.\d{1,3}){3}|::1)$/;
