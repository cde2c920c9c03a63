import type { Job, RepeatOptions, RepeatStrategy } from 'bullmq';
import { formatDuration } from '../duration.js';
import { unnamed } from '../jobs/calendar.js';
import type { Emit } from '../jobs/events.js';
import { defaultPolicy, type MisfirePolicy } from '../jobs/misfire.js';
import { type NextTick, nextTick, offsetOf, type Timing } from '../jobs/schedule.js';

/**
 * What every iteration of one of our schedulers carries in its `repeat` options. It is stored twice for each schedule,
 * so what is as always is left out.
 */
export interface RepeatCarrier extends RepeatOptions {
  readonly timing: Timing;
  /** The default, unless told. */
  readonly policy?: MisfirePolicy;
  /** Told where code computes the times. */
  readonly schedule?: string;
  /** Goes on after the tick that is due then, in ms since the epoch, though it is yet to come. */
  readonly after?: number;
}

/** The pattern is for people alone, as Bull Board shows it; the times come from `timing`. */
export function repeatOptions(schedule: string, timing: Timing, policy: MisfirePolicy, after?: number): RepeatCarrier {
  const { misfire, grace, maxCatchUp } = defaultPolicy;
  const usual = policy.misfire === misfire && policy.grace === grace && policy.maxCatchUp === maxCatchUp;
  return {
    pattern: patternOf(timing),
    timing,
    ...(!usual && { policy }),
    ...(timing.kind === 'next' && { schedule }),
    ...(after !== undefined && { after }),
  };
}

/**
 * BullMQ's question for the next iteration, answered the same on producers and workers. It must not throw, or
 * the run that asks would stay active and unexecuted; where it has no answer the chain ends here, and the
 * producer, which knows every schedule, takes it up again.
 *
 * @param ruleOf the rule of a schedule whose times are computed by code, where this process knows it
 */
export function createRepeatStrategy(ruleOf: (schedule: string) => NextTick | undefined, emit: Emit): RepeatStrategy {
  // BullMQ's type says number, its own strategy answers undefined where nothing follows.
  return ((after: number, options: RepeatOptions) => {
    const { schedule, timing, after: least = 0 } = options as RepeatCarrier;
    const rule = schedule === undefined ? undefined : ruleOf(schedule);
    try {
      if (!timing) throw new Error('its scheduler was not made by Rondo');
      if (timing.kind === 'next' && !rule) throw new Error('this release does not know its next()');
      const time = nextTick(timing, Math.max(after, least) - offsetOf(timing), rule);
      return time === null ? undefined : time + offsetOf(timing);
    } catch (error) {
      emit({ type: 'schedule.uncomputable', schedule: schedule ?? options.key ?? 'unknown', reason: String(error) });
      return undefined;
    }
  }) as RepeatStrategy;
}

/** What BullMQ calls the run of a schedule that is due at a time. */
export function iterationId(schedule: string, due: number): string {
  return `repeat:${schedule}:${due}`;
}

/** What we call the run of a tick that we add ourselves. */
export function caughtUpId(schedule: string, time: number): string {
  return `tick:${schedule}:${time}`;
}

/** What we call a run that somebody started, out of turn. */
export function triggeredId(schedule: string, marker: string): string {
  return `trigger:${schedule}:${marker}`;
}

/** The tick that a run was made for, by its scheduler or by us; null for a run that is no tick's. */
export function tickOf(job: Pick<Job, 'id' | 'opts'>): { schedule: string; time: number } | null {
  const match = /^(repeat|tick):(.+):(\d+)$/.exec(job.id ?? '');
  if (!match?.[2]) return null;
  const { timing } = carrierOf(job) ?? {};
  // BullMQ names its runs after when they are due.
  const offset = match[1] === 'repeat' && timing ? offsetOf(timing) : 0;
  return { schedule: match[2], time: Number(match[3]) - offset };
}

/** The schedule that a run is of, as a tick or out of turn; null for one that is of none. */
export function scheduleOf(job: Pick<Job, 'id' | 'opts'>): string | null {
  return tickOf(job)?.schedule ?? /^trigger:([^:]+):[^:]+$/.exec(job.id ?? '')?.[1] ?? null;
}

/** What its scheduler gave a run along. */
export function carrierOf({ opts }: Pick<Job, 'opts'>): Partial<RepeatCarrier> | undefined {
  return (opts as { repeat?: Partial<RepeatCarrier> }).repeat;
}

function patternOf(timing: Timing): string {
  const names = timing.exclude?.calendars.map(({ name }) => name ?? unnamed);
  const base = names ? `${kindOf(timing)}, except ${names.join(' and ')}` : kindOf(timing);
  return timing.spread === undefined ? base : `${base}, spread ${formatDuration(timing.spread)}`;
}

function kindOf(timing: Timing): string {
  switch (timing.kind) {
    case 'cron':
      return timing.timezone === 'UTC' ? timing.cron : `${timing.cron} (${timing.timezone})`;
    case 'every':
      return `every ${formatDuration(timing.every)}`;
    case 'at':
      return `once at ${new Date(timing.at).toISOString()}`;
    case 'next':
      return 'computed by code';
  }
}
