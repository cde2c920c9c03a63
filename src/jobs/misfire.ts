import type { Overdue } from './schedule.js';

/** What becomes of ticks that are found late. Durations in ms. */
export interface MisfirePolicy {
  readonly misfire: Misfire;
  /** How late a tick may be found and still be on time. */
  readonly grace: number;
  /** How many late ticks `run-all` runs. */
  readonly maxCatchUp: number;
}

export const misfires = ['run-once', 'run-all', 'skip'] as const;
export type Misfire = (typeof misfires)[number];

/** What a schedule gets that says nothing else. */
export const defaultPolicy: MisfirePolicy = { misfire: 'run-once', grace: 60_000, maxCatchUp: 100 };

/** What is to run of the ticks found due, oldest first, and what becomes of those before them. */
export interface Verdict {
  readonly run: readonly number[];
  readonly rest: {
    readonly from: number;
    readonly to: number;
    readonly count: number;
    readonly outcome: 'coalesced' | 'missed';
    readonly reason: string;
  } | null;
}

/**
 * Judges ticks that were found due together. Several of them, or one that is later than `grace`, are a misfire:
 * `run-once` runs the latest, `run-all` the latest `maxCatchUp`, `skip` the latest where it is within `grace`.
 *
 * @param overdue with at least `maxCatchUp + 1` of the latest ticks, where there are as many
 * @param offset from a tick's time to when it is due, in ms
 * @param now in ms since the epoch
 */
export function judge(overdue: Overdue, policy: MisfirePolicy, offset: number, now: number): Verdict {
  const late = now - (overdue.last + offset) > policy.grace;
  switch (policy.misfire) {
    case 'run-once':
      return keep(overdue, 1, 'coalesced', `into ${iso(overdue.last)}`);
    case 'run-all':
      return keep(overdue, policy.maxCatchUp, 'missed', `more than ${policy.maxCatchUp} to catch up`);
    case 'skip':
      return keep(overdue, late ? 0 : 1, 'missed', 'misfire');
  }
}

function keep(
  { first, count, latest }: Overdue,
  most: number,
  outcome: 'coalesced' | 'missed',
  reason: string,
): Verdict {
  const run = most === 0 ? [] : latest.slice(-most);
  const left = count - run.length;
  const to = latest.at(-run.length - 1) ?? first;
  return { run, rest: left > 0 ? { from: first, to, count: left, outcome, reason } : null };
}

const iso = (time: number) => new Date(time).toISOString();
