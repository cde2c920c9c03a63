import { type Duration, parseDuration } from '../duration.js';
import { RondoError } from '../errors.js';
import type { JobDefinition, Schedule } from '../jobs/define-job.js';
import { excludedTimes } from '../jobs/excluded.js';
import { judge } from '../jobs/misfire.js';
import { nextTick, type Overdue, offsetOf, ticksAfter } from '../jobs/schedule.js';
import { isoTime } from '../jobs/words.js';

/** A range of time: from a moment on, and before another. */
export interface Range {
  readonly from: string | Date;
  readonly to: string | Date;
}

export interface PlayOptions extends Range {
  /** The schedule; the job's first unless told. */
  readonly schedule?: string;
  /** How long each run takes: no time at all unless told. */
  readonly takes?: Duration | ((tick: Date) => Duration);
  /** When no worker is alive. Runs that executes then go on: it is new ones that nobody takes. */
  readonly down?: readonly Range[];
}

/** What became of a tick, or of a range of ticks without a run, in the ledger's words. */
export interface PlayedTick {
  readonly time: Date;
  readonly outcome: 'succeeded' | 'skipped' | 'coalesced' | 'missed' | 'cancelled' | 'excluded';
  readonly reason: string | null;
  /** When its run began and ended; null where it had none. */
  readonly started: Date | null;
  readonly finished: Date | null;
  /** More than one for ticks that were left out together, from `time` to `to`. */
  readonly count: number;
  readonly to: Date;
}

/**
 * The ticks of a schedule over a range of time.
 *
 * @param schedule the job's first unless told
 * @throws RangeError where the job has no such schedule, or a time is none
 */
export function ticksOf(job: Scheduled, range: Range & { readonly schedule?: string }): Date[] {
  const { timing, next } = scheduleOf(job, range.schedule);
  const { from, to } = rangeOf(range);
  const found: Date[] = [];
  for (const time of ticksAfter(timing, from - 1, next)) {
    if (time >= to) break;
    found.push(new Date(time));
  }
  return found;
}

/**
 * Plays a range of time on a virtual clock: what becomes of each tick of a schedule, by its calendars and its policies of
 * misfire and overlap, where runs take as long as told and workers are down as told. A year takes milliseconds.
 * Runs do not fail here, and workers have room for all of them.
 *
 * @returns the ledger that such a time leaves behind, oldest first
 * @throws RangeError where the job has no such schedule, or a time or duration is none
 */
export function play(job: Scheduled, options: PlayOptions): PlayedTick[] {
  const schedule = scheduleOf(job, options.schedule);
  const { from, to } = rangeOf(options);
  const down = (options.down ?? []).map(rangeOf);
  const turns = createTurns(schedule, lengthOf(options.takes ?? 0));
  const played = [...excludedIn(schedule, from, to)];
  for (const { overdue, at } of foundTogether(schedule, from, to, down)) {
    const { run, rest } = judge(overdue, schedule.policy, offsetOf(schedule.timing), at);
    if (rest) played.push(leftOut(rest.from, rest.outcome, rest.reason, rest));
    run.forEach((time, index) => {
      turns.offer(time, at, index > 0);
    });
  }
  return [...played, ...turns.ended()].sort((a, b) => a.time.getTime() - b.time.getTime());
}

type Scheduled = Pick<JobDefinition, 'name' | 'schedules' | 'problems'>;

/** Ticks that a worker finds at the same moment: one, or all that became due while none was alive. */
function* foundTogether(
  { timing, next, policy }: Schedule,
  from: number,
  to: number,
  down: readonly { from: number; to: number }[],
): Generator<{ overdue: Overdue; at: number }> {
  const offset = offsetOf(timing);
  const upAt = (moment: number): number => {
    const closed = down.find((range) => moment >= range.from && moment < range.to);
    return closed ? upAt(closed.to) : moment;
  };
  let together: { times: number[]; at: number } | null = null;
  for (const time of ticksAfter(timing, from - 1, next)) {
    if (time >= to) break;
    const at = upAt(time + offset);
    if (together && at !== together.at) {
      yield { overdue: overdueOf(together.times, policy.maxCatchUp), at: together.at };
      together = null;
    }
    together ??= { times: [], at };
    together.times.push(time);
  }
  if (together) yield { overdue: overdueOf(together.times, policy.maxCatchUp), at: together.at };
}

function overdueOf(times: readonly number[], most: number): Overdue {
  const [first, last] = [times[0] as number, times.at(-1) as number];
  return { first, last, count: times.length, latest: times.slice(-most - 1) };
}

function* excludedIn({ timing, next }: Schedule, from: number, to: number): Generator<PlayedTick> {
  const steps = excludedTimes(timing, from - 1, to - 1, next);
  let step = steps.next();
  while (!step.done) step = steps.next();
  for (const { from: first, to: last, count, by, movedTo } of step.value) {
    const reason = movedTo === null ? by : `${by}, runs at ${isoTime(movedTo)}`;
    yield leftOut(first, 'excluded', reason, { to: last, count });
  }
}

interface Turn {
  readonly time: number;
  readonly started: number;
  readonly ends: number;
}

/** Who runs, who waits, and who gives way, by the schedule's policy of overlap. */
function createTurns({ overlap, lateAfter, timing }: Schedule, takes: (tick: number) => number) {
  const played: PlayedTick[] = [];
  let holder: Turn | null = null;
  const waiting: number[] = [];

  function begin(time: number, at: number): void {
    if (lateAfter !== null && at - (time + offsetOf(timing)) > lateAfter) {
      played.push(leftOut(time, 'skipped', 'too late'));
      return;
    }
    const turn = { time, started: at, ends: at + takes(time) };
    if (overlap === 'allow') played.push(ran(turn));
    else holder = turn;
  }

  /** Those that ended before a moment make room for those that wait. */
  function endBefore(moment: number): void {
    while (holder && holder.ends <= moment) {
      const { ends } = holder;
      played.push(ran(holder));
      holder = null;
      // One that is too late by now leaves the turn to the next.
      while (!holder && waiting.length > 0) begin(waiting.shift() as number, ends);
    }
  }

  return {
    /** @param promised it was caught up: it waits for its turn, where another would give way */
    offer(time: number, at: number, promised: boolean): void {
      endBefore(at);
      if (!holder || overlap === 'allow') begin(time, at);
      else if (promised) waiting.push(time);
      else if (overlap === 'skip') played.push(leftOut(time, 'skipped', 'overlap'));
      else if (overlap === 'replace') {
        played.push({
          ...ran({ ...holder, ends: at }),
          outcome: 'cancelled',
          reason: `by the tick of ${isoTime(time)}`,
        });
        holder = null;
        begin(time, at);
      } else if (waiting.length > 0) {
        played.push(leftOut(time, 'coalesced', `into ${isoTime(waiting.at(-1) as number)}`));
      } else waiting.push(time);
    },
    ended(): PlayedTick[] {
      endBefore(Number.POSITIVE_INFINITY);
      return played;
    },
  };
}

function ran({ time, started, ends }: Turn): PlayedTick {
  const tick = new Date(time);
  return {
    ...{ time: tick, outcome: 'succeeded', reason: null, count: 1, to: tick },
    ...{ started: new Date(started), finished: new Date(ends) },
  };
}

function leftOut(
  time: number,
  outcome: PlayedTick['outcome'],
  reason: string,
  { to = time, count = 1 }: { to?: number; count?: number } = {},
): PlayedTick {
  return { time: new Date(time), outcome, reason, started: null, finished: null, count, to: new Date(to) };
}

function scheduleOf(job: Scheduled, id: string | undefined): Schedule {
  if (job.problems.length > 0) throw new RondoError('jobs-invalid', '', { problems: job.problems });
  const found = id === undefined ? job.schedules[0] : job.schedules.find((schedule) => schedule.id === id);
  if (found) return found;
  const ids = job.schedules.map((schedule) => schedule.id).join(', ') || 'none';
  throw new RangeError(`schedule: expected one of ${job.name} (${ids}); got ${id === undefined ? 'nothing' : id}`);
}

function rangeOf({ from, to }: Range): { from: number; to: number } {
  const range = { from: momentOf(from, 'from'), to: momentOf(to, 'to') };
  if (range.from < range.to) return range;
  throw new RangeError(`to: expected a time after ${isoTime(range.from)}; got ${isoTime(range.to)}`);
}

function momentOf(value: string | Date, name: string): number {
  const time = new Date(value).getTime();
  if (!Number.isNaN(time)) return time;
  throw new RangeError(`${name}: expected a Date or an ISO time; got ${String(value)}`);
}

function lengthOf(takes: NonNullable<PlayOptions['takes']>): (tick: number) => number {
  const read = (value: Duration): number => {
    const ms = parseDuration(value);
    if (ms !== null) return ms;
    throw new RangeError(`takes: expected a duration such as "10s"; got ${JSON.stringify(value)}`);
  };
  if (typeof takes === 'function') return (tick) => read(takes(new Date(tick)));
  const ms = read(takes);
  return () => ms;
}

/** The first tick strictly after a moment, or null where none is left. */
export function tickAfter(job: Scheduled, moment: string | Date, schedule?: string): Date | null {
  const { timing, next } = scheduleOf(job, schedule);
  const time = nextTick(timing, momentOf(moment, 'moment'), next);
  return time === null ? null : new Date(time);
}
