import { inspect } from 'node:util';

/** What is shown in place of a secret. */
export const hidden = '[secret]';

type Path = readonly string[];

/** The fields of a job's payload that are secret: dotted paths, `*` for every item of a list or value of a record. */
export type SecretPaths = readonly string[];

/** A copy of a payload in which what lies at the paths is hidden; the payload itself where there are none. */
export function redactPayload(paths: SecretPaths, payload: unknown): unknown {
  return paths.reduce((left, path) => hideAt(left, path.split('.')), payload);
}

/**
 * Where a path wants an object and something else stands, that may be the secret, misplaced: it is hidden as well. A
 * list that a path does not tell of is looked through.
 */
function hideAt(value: unknown, path: Path): unknown {
  const [name, ...rest] = path;
  if (value === undefined || value === null) return value;
  if (name === undefined) return hidden;
  if (Array.isArray(value)) {
    return value.map((item, index) => hideAt(item, name === '*' || name === String(index) ? rest : path));
  }
  if (typeof value !== 'object') return hidden;
  const entries = Object.entries(value).map(([key, inner]): [string, unknown] => [
    key,
    name === '*' || name === key ? hideAt(inner, rest) : inner,
  ]);
  return Object.fromEntries(entries);
}

/** Whether a place of a payload is secret, or lies within one that is. */
export function isSecretAt(paths: SecretPaths, place: readonly PropertyKey[]): boolean {
  return paths.some((path) => {
    const names = path.split('.');
    return names.length <= place.length && names.every((name, index) => name === '*' || name === String(place[index]));
  });
}

/** Whether a payload holds, where a secret should be, the word that is shown in place of one: it was copied. */
export function holdsHidden(paths: SecretPaths, payload: unknown): boolean {
  return paths.some((path) => valuesAt(payload, path.split('.')).includes(hidden));
}

/** Finds a payload's secrets wherever they turn up: in errors, logs, results. */
export interface Redactor {
  /** The same text with every secret hidden, also where it is escaped or encoded. */
  text(text: string): string;
  /** The same value, or where a secret is in it, a copy as plain JSON with that hidden. */
  value(value: unknown): unknown;
  /** The same error, or where a secret is in it, one like it with that hidden: message, stack, causes, own fields. */
  error<Failure>(error: Failure): Failure;
}

/** Texts shorter than this are too common to be looked for within others. */
const shortest = 4;

/** @param payloads what the secrets are taken from: the payload as stored, as migrated, as the schema reads it */
export function createRedactor(paths: SecretPaths, payloads: readonly unknown[]): Redactor {
  if (paths.length === 0) return nothingToHide;
  const found = payloads.flatMap((payload) => paths.flatMap((path) => valuesAt(payload, path.split('.'))));
  const leaves = [...new Set(found.flatMap(leavesOf))].filter((leaf) => leaf !== hidden && leaf !== '');
  if (leaves.length === 0) return nothingToHide;
  const wanted = leaves.filter((leaf) => leaf.length >= shortest).flatMap(spellingsOf);
  // The longest first: one secret may begin with another.
  const spellings = [...new Set(wanted)].sort((a, b) => b.length - a.length);
  const whole = new Set(leaves);
  const text = (given: string) => {
    if (whole.has(given)) return hidden;
    return spellings.reduce((left, spelling) => left.replaceAll(spelling, hidden), given);
  };
  const words: Words = { text, whole };
  return { text, value: (value) => redactValue(value, words), error: (error) => redactError(error, words) };
}

interface Words {
  text(given: string): string;
  /** The secrets themselves: a number is hidden where it is one, not where its figures turn up. */
  readonly whole: ReadonlySet<string>;
}

const nothingToHide: Redactor = { text: (text) => text, value: (value) => value, error: (error) => error };

function valuesAt(value: unknown, path: Path): unknown[] {
  const [name, ...rest] = path;
  if (value === undefined || value === null) return [];
  if (name === undefined || typeof value !== 'object') return [value];
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => valuesAt(item, name === '*' || name === String(index) ? rest : path));
  }
  const inner = name === '*' ? Object.values(value) : [(value as Record<string, unknown>)[name]];
  return inner.flatMap((item) => valuesAt(item, rest));
}

/** A secret may be an object or a list: each text and number in it is one. */
function leavesOf(value: unknown): string[] {
  if (typeof value === 'string') return [value, value.trim()];
  if (typeof value === 'number' || typeof value === 'bigint') return [String(value)];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(leavesOf);
}

/** How a secret may be written in a text: as it is, within JSON or a URL, in base64, on lines of its own. */
function spellingsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const wellFormed = bytes.toString();
  const asJson = JSON.stringify(secret).slice(1, -1);
  return [
    ...[secret, asJson, JSON.stringify(asJson).slice(1, -1)],
    ...[encodeURIComponent(wellFormed), encodeURI(wellFormed)],
    ...[new URLSearchParams([['', secret]]).toString().slice(1)],
    ...[bytes.toString('base64'), bytes.toString('base64').replace(/=+$/, ''), bytes.toString('base64url')],
    ...[bytes.toString('hex'), bytes.toString('hex').toUpperCase()],
    ...secret.split(/\r?\n/).filter((line) => line.trim().length >= 2 * shortest),
  ].filter((spelling) => spelling.length >= shortest);
}

function redactValue(value: unknown, words: Words): unknown {
  if (typeof value === 'string') return words.text(value);
  let json: string | undefined;
  try {
    json = JSON.stringify(value);
  } catch {
    return redactShown(value, words);
  }
  if (json === undefined) return value;
  const redacted = redactLeaves(JSON.parse(json), words);
  return JSON.stringify(redacted) === json ? value : redacted;
}

/** What goes round in circles is no JSON, yet a logger would write it. */
function redactShown(value: unknown, words: Words): unknown {
  const shown = inspect(value, { depth: deepest, maxStringLength: null, maxArrayLength: null });
  const redacted = words.text(shown);
  return redacted === shown ? value : redacted;
}

function redactLeaves(value: unknown, words: Words): unknown {
  if (typeof value === 'string') return words.text(value);
  if (typeof value === 'number') return words.whole.has(String(value)) ? hidden : value;
  if (Array.isArray(value)) return value.map((item) => redactLeaves(item, words));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value);
  return Object.fromEntries(entries.map(([key, inner]) => [words.text(key), redactLeaves(inner, words)]));
}

const deepest = 8;

/** The fields that an error has whether they are its own or not. */
const commonFields = ['name', 'message', 'stack', 'code'];

function redactError<Failure>(error: Failure, words: Words, depth = 0): Failure {
  if (!(error instanceof Error)) return redactValue(error, words) as Failure;
  if (depth > deepest) return new Error(words.text(error.message)) as Failure;
  const given = error as unknown as Record<string, unknown>;
  const names = new Set([...Object.getOwnPropertyNames(error), ...commonFields]);
  const fields = [...names].flatMap((name): [string, unknown][] =>
    given[name] === undefined ? [] : [[name, given[name]]],
  );
  const redacted = fields.map(([name, value]): [string, unknown] => [name, redactField(value, words, depth)]);
  if (fields.every(([, value], index) => value === redacted[index]?.[1])) return error;
  const copy = Object.create(Object.getPrototypeOf(error)) as Failure;
  for (const [name, value] of redacted) {
    const enumerable = Object.prototype.propertyIsEnumerable.call(error, name);
    Object.defineProperty(copy, name, { value, enumerable, writable: true, configurable: true });
  }
  return copy;
}

function redactField(value: unknown, words: Words, depth: number): unknown {
  if (value instanceof Error) return redactError(value, words, depth + 1);
  if (!Array.isArray(value) || !value.some((item) => item instanceof Error)) return redactValue(value, words);
  const redacted = value.map((item) => redactField(item, words, depth));
  return redacted.every((item, index) => item === value[index]) ? value : redacted;
}
