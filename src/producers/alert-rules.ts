import { isRange, type TickEntry, type TickRun } from '../broker/tick-entry.js';
import { formatDuration } from '../duration.js';
import type { AlertRule, AlertRules, JobAlertRules } from '../jobs/alerts.js';
import { briefly, isoTime } from '../jobs/words.js';

/** What an alert is about: a schedule, or, where that is null, the job. */
export interface Subject {
  readonly job: string;
  readonly schedule: string | null;
}

/** How one rule finds its subject. Times in ms since the epoch. */
export interface Reading extends Subject {
  readonly rule: AlertRule;
  /** It is wrong now. */
  readonly on: boolean;
  /** When it was wrong last, where that may be over already; 0 where it was not. */
  readonly mark: number;
  /** What is on is news only where its mark is: once what ended it is out of sight, it seems to be on again. */
  readonly byMark?: boolean;
  readonly cooldown: number;
  text(): string;
}

/** One run, or one attempt, that has ended. */
export interface Ended {
  readonly at: number;
  readonly tookMs: number | null;
  /** Which run it was, for people. */
  readonly what: string;
  /** Null where it succeeded. */
  readonly failure: string | null;
}

/** What a ledger's newest entries tell, or a queue of its runs that are no ticks. */
export interface History {
  /** Newest first. */
  readonly ended: readonly Ended[];
  /** The newest ticks that were missed: the last of them, when that was noticed, and what is said of them. */
  readonly missed: { readonly tick: number; readonly noticed: number; readonly text: string } | null;
  /** The newest tick that has a run which was taken. */
  readonly taken: number | null;
  /** How long runs usually take: the median of those that succeeded, in ms; null where these are too few to tell. */
  readonly usualMs: number | null;
}

/** A run that executes. */
export interface Active {
  readonly what: string;
  readonly since: number;
}

export interface ScheduleFacts extends Subject {
  readonly schedule: string;
  readonly rules: AlertRules;
  readonly history: History;
  readonly active: readonly Active[];
  /** When the tick was due that nobody has taken yet; null where there is none, or the schedule or its job is paused. */
  readonly waitingSince: number | null;
  readonly lateAfter: number | null;
  /** Why it is broken, and for how long; null where it is not. */
  readonly broken: { readonly why: string; readonly forMs: number } | null;
}

export interface JobFacts {
  readonly job: string;
  readonly rules: JobAlertRules;
  /** Of its runs that are no ticks. */
  readonly history: History;
  readonly active: readonly Active[];
  /** The run that has waited longest; null where none does, or the job is paused. */
  readonly oldest: { readonly run: string; readonly since: number } | null;
  readonly noWorkerForMs: number;
}

/** Who is broken for less long, in ms, the producer may mend yet. */
export const brokenHoldMs = 30_000;
/** So many runs must have succeeded before one is slower than usual, and by so many ms at least. */
const usualFrom = 5;
const slowByMs = 5_000;

/** How the rules of a schedule find it that are on. */
export function readingsOfSchedule(facts: ScheduleFacts, now: number): Reading[] {
  const { job, schedule, rules, broken } = facts;
  const { cooldown } = rules;
  const found = [...readingsOfRuns(facts, rules, now)];
  if (rules.missed) found.push(readMissed(facts, now));
  if (rules.broken) {
    const on = broken !== null && broken.forMs >= brokenHoldMs;
    found.push({
      rule: 'broken',
      job,
      schedule,
      on,
      mark: 0,
      cooldown,
      text: () => broken?.why ?? 'it is sound again',
    });
  }
  return found;
}

/** The same of a job, and of its runs that are no ticks. */
export function readingsOfJob(facts: JobFacts, now: number): Reading[] {
  const { job, rules, oldest, noWorkerForMs } = facts;
  const { queueAge, noWorker, cooldown } = rules;
  const of = { job, schedule: null, mark: 0, cooldown };
  const found = [...readingsOfRuns({ ...facts, schedule: null }, rules, now)];
  if (queueAge !== null) {
    const ageMs = oldest ? now - oldest.since : 0;
    const text = () =>
      oldest && ageMs > queueAge
        ? `run ${oldest.run} waits for ${briefly(ageMs)}`
        : 'nothing waits for so long any more';
    found.push({ ...of, rule: 'queueAge', on: ageMs > queueAge, text });
  }
  if (noWorker !== null) {
    const on = noWorkerForMs >= noWorker;
    const text = () =>
      on ? `no worker takes its runs for ${briefly(noWorkerForMs)}` : 'a worker takes its runs again';
    found.push({ ...of, rule: 'noWorker', on, text });
  }
  return found;
}

/**
 * What a ledger's newest entries tell.
 *
 * @param entries oldest first
 * @param noticedBefore the newest missed tick that was known before, with when it was noticed
 */
export function historyOf(
  entries: readonly TickEntry[],
  now: number,
  noticedBefore: History['missed'] | undefined,
): History {
  const newestFirst = entries.toReversed();
  const runs = newestFirst.filter((entry): entry is TickRun => !isRange(entry));
  const found = newestFirst.find(isMissed);
  const ended = runs.flatMap((run) => endedOf(run) ?? []);
  return {
    ended,
    missed: found ? missedOf(found, now, noticedBefore) : null,
    taken: runs.find(({ outcome }) => outcome !== 'waiting' && outcome !== 'unknown')?.time ?? null,
    usualMs: usualMsOf(ended),
  };
}

/** Whether what was told of it last is wrong: a retry or a backfill may put it right, and leaves the cursor where it is. */
export function endsBadly(history: History): boolean {
  const [newest] = history.ended;
  return (newest !== undefined && newest.failure !== null) || lacksTicks(history);
}

/** The median of the runs that have succeeded; null where these are too few to tell. */
export function usualMsOf(ended: readonly Ended[]): number | null {
  const took = ended.flatMap(({ failure, tookMs }) => (failure === null && tookMs !== null ? [tookMs] : []));
  if (took.length < usualFrom) return null;
  return took.toSorted((a, b) => a - b)[Math.floor(took.length / 2)] ?? null;
}

function* readingsOfRuns(
  { job, schedule, history, active }: Subject & { history: History; active: readonly Active[] },
  { failed, failures, slow, cooldown }: AlertRules,
  now: number,
): Generator<Reading> {
  const of = { job, schedule, cooldown };
  const { ended } = history;
  const [newest] = ended;
  // A queue keeps its failures apart from its successes, and often for longer. A ledger loses the older of two first.
  const byMark = schedule === null;
  if (failed) {
    const last = ended.find(({ failure }) => failure !== null);
    const on = newest !== undefined && newest === last;
    const text = () => (last ? (on ? failedText(last) : endedText(last, newest)) : 'no run fails');
    yield { ...of, rule: 'failed', on, mark: last?.at ?? 0, byMark, text };
  }
  if (failures !== null) {
    const succeeded = ended.findIndex(({ failure }) => failure === null);
    const inARow = succeeded === -1 ? ended.length : succeeded;
    const on = inARow >= failures;
    const text = () => (on && newest ? `${inARow} in a row: ${failedText(newest)}` : succeededText(newest));
    yield { ...of, rule: 'failures', on, mark: on && newest ? newest.at : 0, byMark, text };
  }
  if (slow !== null) yield readSlow(of, history, active, slow, now);
}

/** One that is over tells in one text what it was and that it is over: both may be told at once. */
function endedText(failed: Ended, newest: Ended | undefined): string {
  return `${failedText(failed)}; ${succeededText(newest)}`;
}

function failedText({ what, failure }: Ended): string {
  return `${what} failed: ${failure}`;
}

function succeededText(newest: Ended | undefined): string {
  return newest?.failure === null ? `${newest.what} succeeded` : 'no run of late';
}

function readSlow(
  of: Subject & { cooldown: number },
  { ended, usualMs: usual }: History,
  active: readonly Active[],
  factor: number,
  now: number,
): Reading {
  const tooLong = usual === null ? Number.POSITIVE_INFINITY : Math.max(factor * usual, usual + slowByMs);
  const running = active.find(({ since }) => now - since > tooLong);
  const over = ended.find(({ tookMs }) => (tookMs ?? 0) > tooLong);
  const usually = () => `usual are ${briefly(usual ?? 0)}`;
  const text = () => {
    if (running) return `${running.what} runs for ${briefly(now - running.since)}, ${usually()}`;
    return over ? `${over.what} took ${briefly(over.tookMs ?? 0)}, ${usually()}` : 'runs take as long as usual';
  };
  return { ...of, rule: 'slow', on: running !== undefined, mark: over?.at ?? 0, text };
}

function readMissed({ job, schedule, rules, history, waitingSince, lateAfter }: ScheduleFacts, now: number): Reading {
  const { missed, taken } = history;
  const lateMs = waitingSince === null ? 0 : now - waitingSince;
  const isLate = lateAfter !== null && lateMs > lateAfter;
  const isMissed = lacksTicks(history);
  const text = () => {
    if (isLate)
      return `its tick waits ${briefly(lateMs)} after it was due, and ${formatDuration(lateAfter)} are allowed`;
    if (!missed) return 'its ticks run in time';
    return isMissed || taken === null ? missed.text : `${missed.text}; the tick of ${isoTime(taken)} ran`;
  };
  const of = { job, schedule, cooldown: rules.cooldown };
  return { ...of, rule: 'missed', on: isLate || isMissed, mark: missed?.noticed ?? 0, text };
}

function lacksTicks({ missed, taken }: History): boolean {
  return missed !== null && missed.tick > (taken ?? 0);
}

function isMissed({ outcome, reason }: TickEntry): boolean {
  return outcome === 'missed' || outcome === 'unknown' || (outcome === 'skipped' && reason === 'too late');
}

function missedOf(entry: TickEntry, now: number, before: History['missed'] | undefined): History['missed'] {
  const tick = isRange(entry) ? entry.to : entry.time;
  const count = isRange(entry) ? entry.count : 1;
  const why = entry.reason ? ` (${entry.reason})` : '';
  const which =
    count === 1 ? `the tick of ${isoTime(tick)}` : `${count} ticks from ${isoTime(entry.time)} to ${isoTime(tick)}`;
  const text = `${which}: ${entry.outcome}${why}`;
  // A process that sees a ledger for the first time does not know when it was entered.
  if (before === undefined) return { tick, noticed: tick, text };
  return { tick, noticed: before?.tick === tick ? before.noticed : now, text };
}

function endedOf({ time, outcome, reason, claimed, started, finished, attempts }: TickRun): Ended | null {
  const isFailure = outcome === 'failed' || outcome === 'timed-out';
  if (!isFailure && outcome !== 'succeeded') return null;
  const tookMs = started !== undefined && finished !== undefined ? finished - started : null;
  const said = outcome === 'timed-out' ? 'it took longer than its timeout' : (reason ?? 'no reason is known');
  const failure = isFailure ? `${said}${attempts > 1 ? `, after ${attempts} attempts` : ''}` : null;
  return { at: finished ?? claimed, tookMs, what: `the tick of ${isoTime(time)}`, failure };
}
