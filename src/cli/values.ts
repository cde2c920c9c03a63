import { readFileSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { parseDuration } from '../duration.js';
import { RondoError } from '../errors.js';
import { isoTime } from '../jobs/words.js';
import { nearest } from '../problems.js';
import { isTimezone } from '../timezone.js';

/** Readers of option values: each throws an InvalidArgumentError, which is wrong usage. */

export function commaSeparated(text: string): string[] {
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean);
  if (parts.length === 0) throw new InvalidArgumentError(`Expected one or more names, comma-separated; got "${text}".`);
  return parts;
}

export function durationMs(text: string): number {
  const ms = parseDuration(/^\d+$/.test(text) ? Number(text) : text);
  if (ms === null) throw new InvalidArgumentError(`Expected a duration such as 10s, 5m, 1h or 1d; got "${text}".`);
  return ms;
}

/** How long something may go on waiting: no time at all would be never. */
export function someDurationMs(text: string): number {
  const ms = durationMs(text);
  if (ms === 0) throw new InvalidArgumentError(`Expected a duration of at least 1ms; got "${text}".`);
  return ms;
}

/** How much later a run may start: up to a year, as over HTTP. */
export function delayMs(text: string): number {
  const ms = durationMs(text);
  if (ms > yearMs) throw new InvalidArgumentError(`Expected a duration of at most 365d; got "${text}".`);
  return ms;
}

/** When a run may start. */
export function momentOfYear(text: string): number {
  const time = moment(text);
  if (time - Date.now() > yearMs) throw new InvalidArgumentError(`Expected a time within a year; got "${text}".`);
  return time;
}

const yearMs = 365 * 86_400_000;

export function moment(text: string): number {
  const time = momentOr(text);
  if (time === null)
    throw new InvalidArgumentError(`Expected an ISO time such as 2026-11-21T07:00:00Z; got "${text}".`);
  return time;
}

/** @throws RondoError `usage-wrong` where a range of time ends before it begins */
export function refuseReversed({ from, to }: { from?: number; to?: number }): void {
  if (from === undefined || to === undefined || from <= to) return;
  throw new RondoError('usage-wrong', `--to: expected a time at or after --from, ${isoTime(from)}; got ${isoTime(to)}`);
}

/** A moment to come, or how long it is until then. */
export function futureMoment(text: string): number {
  const ms = parseDuration(text);
  const time = ms === null ? momentOr(text) : Date.now() + ms;
  if (time === null)
    throw new InvalidArgumentError(`Expected a duration such as 2h or an ISO time with its zone; got "${text}".`);
  if (time <= Date.now()) throw new InvalidArgumentError(`Expected a time to come; got "${text}".`);
  if (time - Date.now() > 100 * yearMs)
    throw new InvalidArgumentError(`Expected a time within 100 years; got "${text}".`);
  return time;
}

export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Expected a whole number from ${min} to ${max}; got "${text}".`);
  };
}

export function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidArgumentError(`Expected JSON: ${(error as Error).message}.`);
  }
}

/** JSON, or `-` for that of standard input. */
export function jsonOrStdin(text: string): unknown {
  return json(text === '-' ? readFileSync(0, 'utf8') : text);
}

export function oneOf<Name extends string>(names: readonly Name[]): (text: string) => Name {
  return (text) => {
    const name = names.find((candidate) => candidate === text);
    if (name) return name;
    const near = nearest(text, names);
    const hint = near ? ` Did you mean "${near}"?` : '';
    throw new InvalidArgumentError(`Expected one of ${names.join(', ')}; got "${text}".${hint}`);
  };
}

export function someOf<Name extends string>(names: readonly Name[]): (text: string) => Name[] {
  return (text) => commaSeparated(text).map(oneOf(names));
}

function momentOr(text: string): number | null {
  // Without a zone it would mean another moment on each machine.
  const [, day = ''] = /^(\d{4}-\d\d-\d\d)(T.+(Z|[+-]\d\d:\d\d))?$/.exec(text) ?? [];
  const time = isDay(day) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(time) ? null : time;
}

/** The 30th of February is read as the 2nd of March. */
function isDay(text: string): boolean {
  const time = Date.parse(text);
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text);
}

/** An IANA time zone. */
export function zone(text: string): string {
  if (isTimezone(text)) return text;
  throw new InvalidArgumentError(`Expected an IANA time zone such as Europe/Paris; got "${text}".`);
}
