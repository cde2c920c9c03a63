import { distance } from 'fastest-levenshtein';
import type { z } from 'zod';
import type { Problem } from './errors.js';

type Issue = z.core.$ZodIssue;

/**
 * Tells what a schema refused in the words of Rondo's errors: one problem a field, each with the value that
 * came, shortened, and the nearest known name where a key is misspelt. Of very many the last says how many more.
 *
 * @param at what the path hangs from: `payload` or, ending with a space, a name before it
 * @param known the keys that are understood at a place, to suggest from
 * @param got what is told of what came at a place, where that is not its value; nothing is known of an unknown key's
 * @param most how many are told, a hundred unless told: who sends millions of mistakes gets no answer of millions
 */
export function problemsOf(
  error: Pick<z.core.$ZodError, 'issues'>,
  input: unknown,
  options: {
    at?: string;
    known?: (path: readonly PropertyKey[]) => readonly string[];
    got?: (path: readonly PropertyKey[], isUnknown: boolean) => string | null;
    most?: number;
  } = {},
): Problem[] {
  const { at = '', known = () => [], got = () => null, most = 100 } = options;
  const whereOf = (path: readonly PropertyKey[]) =>
    (at + pathOf(path, at === '' || at.endsWith(' '))).replace(/: $/, '') || 'value';
  const gotAt = (path: readonly PropertyKey[], isUnknown: boolean) =>
    got(path, isUnknown) ?? show(valueAt(input, path));
  const problemOf = (issue: Issue, key: string | null): Problem => {
    if (key === null)
      return { where: whereOf(issue.path), expected: expectationOf(issue), got: gotAt(issue.path, false) };
    const near = nearest(key, known(issue.path));
    const path = [...issue.path, key];
    const expected = near ? `no such option (did you mean "${near}"?)` : 'no such option';
    return { where: whereOf(path), expected, got: gotAt(path, true) };
  };
  const problems: Problem[] = [];
  let more = 0;
  for (const issue of error.issues) {
    const keys = issue.code === 'unrecognized_keys' ? issue.keys : [null];
    const told = keys.slice(0, most - problems.length);
    problems.push(...told.map((key) => problemOf(issue, key)));
    more += keys.length - told.length;
  }
  if (more > 0) problems.push(furtherProblems(`and ${more} more`, at));
  return problems;
}

/** What stands for problems that are not told. @param at a place before, as of `problemsOf` */
export function furtherProblems(got: string, at = ''): Problem {
  const before = at === '' || at.endsWith(' ') ? at : `${at}: `;
  return { where: `${before}the rest`, expected: 'no further problems', got };
}

/** The known name that a misspelt one most likely stands for, or null where none is close. */
export function nearest(
  name: string,
  known: Iterable<string>,
  maxEdits = Math.max(2, Math.floor(name.length / 3)),
): string | null {
  let best: { name: string; edits: number } | null = null;
  for (const candidate of known) {
    const edits = distance(name.toLowerCase(), candidate.toLowerCase());
    if (!best || edits < best.edits) best = { name: candidate, edits };
  }
  // As many edits as the name has letters would turn it into any other.
  return best && best.edits <= maxEdits && best.edits < name.length ? best.name : null;
}

/** A name that nobody knows, quoted, with the known one that it most likely stands for. */
export function withNearest(name: string, known: Iterable<string>): string {
  const near = nearest(name, known);
  return near ? `"${name}" (did you mean "${near}"?)` : `"${name}"`;
}

/** A value as an error may quote it: JSON where it is data, shortened to 80 characters. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'number') return String(value);
  let text: string;
  try {
    text = JSON.stringify(value) ?? String(value);
  } catch {
    text = String(value);
  }
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

function expectationOf(issue: Issue): string {
  // What the schema's author says goes before what zod would; its own messages all begin like this.
  if (!/^(Invalid|Too|Unrecognized) /.test(issue.message)) return issue.message;
  switch (issue.code) {
    case 'invalid_type':
      return withArticle(issue.expected);
    case 'invalid_value':
      return issue.values.length === 1 ? show(issue.values[0]) : `one of ${issue.values.map(show).join(', ')}`;
    case 'too_small':
      return `${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}${unitOf(issue.origin)}`;
    case 'too_big':
      return `${issue.inclusive ? 'at most' : 'less than'} ${issue.maximum}${unitOf(issue.origin)}`;
    case 'not_multiple_of':
      return `a multiple of ${issue.divisor}`;
    case 'invalid_format':
      return issue.pattern ? `text like ${issue.pattern}` : `a valid ${issue.format}`;
    case 'invalid_union': {
      const branches = issue.errors.flatMap((branch) => branch.map(expectationOf));
      return [...new Set(branches)].join(' or ') || 'a value that the schema accepts';
    }
    default:
      return 'a value that the schema accepts';
  }
}

function withArticle(type: string): string {
  if (type === 'int') return 'a whole number';
  return `${/^[aeiou]/.test(type) ? 'an' : 'a'} ${type}`;
}

function unitOf(origin: string): string {
  if (origin === 'string') return ' characters';
  return origin === 'array' || origin === 'set' ? ' items' : '';
}

function pathOf(path: readonly PropertyKey[], first: boolean): string {
  return path
    .map((key, index) =>
      typeof key === 'number' ? `[${key}]` : first && index === 0 ? String(key) : `.${String(key)}`,
    )
    .join('');
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const key of path) value = (value as Record<PropertyKey, unknown> | null | undefined)?.[key];
  return value;
}
