import type { AlertRule } from '../jobs/alerts.js';
import type { Reading, Subject } from './alert-rules.js';

/** What is remembered of one rule and subject. Times in ms since the epoch. */
export interface AlertState extends Subject {
  readonly rule: AlertRule;
  readonly app: string;
  readonly on: boolean;
  /** When it started last, which is also when that was told. */
  readonly since: number;
  /** Nothing that was wrong up to here is told again. */
  readonly mark: number;
  readonly text: string;
}

/** A change of what is remembered, and what is to be told of it. */
export interface AlertChange {
  readonly key: string;
  readonly before: AlertState | null;
  /** Null where nothing needs to be remembered any more. */
  readonly after: AlertState | null;
  readonly tell: 'started' | 'ended' | null;
  readonly text: string;
}

export interface DecideInput {
  readonly app: string;
  readonly now: number;
  /** When the app's producers looked last; null where none has. What was wrong before is nobody's news. */
  readonly lookedAt: number | null;
  /** The marks of what goes by them, by key, as the same process found them at that look; none where it was another. */
  readonly seen: ReadonlyMap<string, number>;
}

/** Clocks of producers and workers may differ by this, in ms; what is over is remembered for twice as long. */
const slackMs = 60_000;

export function keyOf({ rule, job, schedule }: Subject & { readonly rule: AlertRule }): string {
  return schedule === null ? `${rule} job:${job}` : `${rule} schedule:${schedule}`;
}

/**
 * What starts, what ends, and what is to be remembered. Pure: an alert starts where its rule finds something wrong, or
 * found it since the last look; not again before its cool-down is over; and ends where nothing is wrong any more.
 */
export function decide(
  states: ReadonlyMap<string, AlertState>,
  readings: readonly Reading[],
  input: DecideInput,
): AlertChange[] {
  const seen = new Set<string>();
  const changes: AlertChange[] = [];
  for (const reading of readings) {
    const key = keyOf(reading);
    seen.add(key);
    const change = changeOf(key, states.get(key) ?? null, reading, input);
    if (change) changes.push(change);
  }
  for (const [key, state] of states) {
    if (state.app !== input.app || seen.has(key)) continue;
    const text = 'nobody looks after it any more: it is gone, or its rule is off';
    changes.push({ key, before: state, after: null, tell: state.on ? 'ended' : null, text });
  }
  return changes;
}

function changeOf(key: string, before: AlertState | null, reading: Reading, input: DecideInput): AlertChange | null {
  const mark = Math.max(reading.mark, before?.mark ?? 0);
  if (before?.on) {
    if (!reading.on) return { key, before, after: { ...before, on: false, mark }, tell: 'ended', text: reading.text() };
    return mark > before.mark ? { key, before, after: { ...before, mark }, tell: null, text: before.text } : null;
  }
  const isWrong = isNews(key, before, reading, input);
  const cooled = before === null || input.now - before.since >= reading.cooldown;
  if (isWrong && cooled) return startOf(key, before, reading, mark, input);
  const forget = !isWrong && before && cooled && input.now - Math.max(before.since, before.mark) > 2 * slackMs;
  return forget ? { key, before, after: null, tell: null, text: '' } : null;
}

function isNews(
  key: string,
  before: AlertState | null,
  { on, mark, byMark }: Reading,
  { lookedAt, seen }: DecideInput,
): boolean {
  if (before === null && lookedAt === null) return on;
  // What was seen is by the clock of a worker, as the mark is.
  const known = before?.mark ?? seen.get(key) ?? (lookedAt ?? 0) - slackMs;
  return mark > known || (on && !byMark);
}

function startOf(
  key: string,
  before: AlertState | null,
  reading: Reading,
  mark: number,
  { app, now }: DecideInput,
): AlertChange {
  const { rule, job, schedule } = reading;
  const text = reading.text();
  return { key, before, after: { rule, job, schedule, app, on: true, since: now, mark, text }, tell: 'started', text };
}
