import { caughtUpId, iterationId } from './repeat.js';

/** What became of a tick. The first two are open: its run waits or executes. */
export const tickOutcomes = [
  'waiting',
  'running',
  'succeeded',
  'failed',
  'timed-out',
  'cancelled',
  'skipped',
  'coalesced',
  'missed',
  'paused',
  'unknown',
  'excluded',
] as const;
export type TickOutcome = (typeof tickOutcomes)[number];

/** One entry of a ledger. Times in ms since the epoch. */
export type TickEntry = TickRun | TickRange;

/** A tick that has a run. */
export interface TickRun {
  readonly time: number;
  readonly outcome: TickOutcome;
  readonly reason?: string;
  readonly due: number;
  /** When a worker took it first, or, of one that was caught up, when its run was added. */
  readonly claimed: number;
  readonly started?: number;
  readonly finished?: number;
  readonly run: string;
  readonly attempts: number;
}

/** Ticks that had none, from the first to the last. */
export interface TickRange {
  readonly time: number;
  readonly to: number;
  readonly count: number;
  readonly outcome: TickOutcome;
  readonly reason?: string;
}

export function isRange(entry: TickEntry): entry is TickRange {
  return 'to' in entry;
}

/**
 * The entry as the ledger keeps it: about 40 bytes, since a thousand of them are kept of every schedule. Times are
 * told as distances, in base 36, and a run that is called as its tick by its marker alone.
 */
export function packEntry(schedule: string, entry: TickEntry): string {
  const outcome = codes[tickOutcomes.indexOf(entry.outcome)] ?? '?';
  const reason = entry.reason?.slice(0, 80);
  if (isRange(entry))
    return fields(`2${outcome}`, base36(entry.time), base36(entry.to - entry.time), base36(entry.count), reason);
  const { time, due, claimed, started, finished, run, attempts } = entry;
  return fields(
    `1${outcome}`,
    base36(time),
    base36(due - time),
    base36(claimed - due),
    started === undefined ? '' : base36(started - claimed),
    started === undefined || finished === undefined ? '' : base36(finished - started),
    base36(attempts),
    packRun(schedule, due, time, run),
    reason,
  );
}

/** Reads an entry, or answers null where it is none: another release wrote it, or a hand. */
export function unpackEntry(schedule: string, packed: string): TickEntry | null {
  const [head = '', ...parts] = packed.split('|');
  const outcome = tickOutcomes[codes.indexOf(head[1] ?? '?')];
  if (!outcome || head.length !== 2) return null;
  if (head[0] === '1') return unpackRun(schedule, outcome, parts);
  return head[0] === '2' ? unpackRange(outcome, parts) : null;
}

function unpackRun(schedule: string, outcome: TickOutcome, parts: readonly string[]): TickRun | null {
  const [time, offset, late, wait, took, attempts] = parts.map(number);
  if (time == null || offset == null || late == null || attempts == null) return null;
  const due = time + offset;
  const claimed = due + late;
  const started = wait == null ? null : claimed + wait;
  return {
    time,
    outcome,
    due,
    claimed,
    ...(started !== null && { started }),
    ...(started !== null && took != null && { finished: started + took }),
    run: readRun(schedule, due, time, parts[6] ?? ''),
    attempts,
    ...reasonIn(parts, 7),
  };
}

function unpackRange(outcome: TickOutcome, parts: readonly string[]): TickRange | null {
  const [time, span, count] = parts.map(number);
  if (time == null || span == null || count == null || span < 0 || count < 1) return null;
  return { time, to: time + span, count, outcome, ...reasonIn(parts, 3) };
}

/** The reason comes last, and may hold whatever it likes. */
function reasonIn(parts: readonly string[], from: number): { reason?: string } {
  const reason = parts.slice(from).join('|');
  return reason ? { reason } : {};
}

const codes = 'wrsftckompue';

function fields(...values: (string | undefined)[]): string {
  return values
    .map((value) => value ?? '')
    .join('|')
    .replace(/\|+$/, '');
}

function packRun(schedule: string, due: number, time: number, run: string): string {
  if (run === iterationId(schedule, due)) return '';
  if (run === caughtUpId(schedule, time)) return 't';
  const start = iterationId(schedule, 0).slice(0, -1);
  return run.startsWith(start) ? `r${base36(Number(run.slice(start.length)))}` : `=${run}`;
}

function readRun(schedule: string, due: number, time: number, packed: string): string {
  if (packed === '') return iterationId(schedule, due);
  if (packed === 't') return caughtUpId(schedule, time);
  return packed.startsWith('r') ? iterationId(schedule, number(packed.slice(1)) ?? 0) : packed.slice(1);
}

const base36 = (value: number) => Math.round(value).toString(36);

/** Nine digits reach into the year 5188, and are exact. */
function number(text: string | undefined): number | null {
  return text !== undefined && /^-?[0-9a-z]{1,9}$/.test(text) ? Number.parseInt(text, 36) : null;
}
