import type { Job, RepeatOptions, RepeatStrategy } from 'bullmq';
import { formatDuration } from '../duration.js';

import type { Emit } from '../jobs/events.js';
import { type NextTick, nextTick, type Timing } from '../jobs/schedule.js';

/** What every iteration of one of our schedulers carries in its `repeat` options. */
export interface RepeatCarrier extends RepeatOptions {
  readonly schedule: string;
  readonly timing: Timing;
}

/** The pattern is for people alone, as Bull Board shows it; the times come from `timing`. */
export function repeatOptions(schedule: string, timing: Timing): RepeatCarrier {
  return { pattern: patternOf(timing), schedule, timing };
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
    const { schedule, timing } = options as RepeatCarrier;
    const rule = ruleOf(schedule);
    try {
      if (!timing) throw new Error('its scheduler was not made by Rondo');
      if (timing.kind === 'next' && !rule) throw new Error('this release does not know its next()');
      return nextTick(timing, after, rule) ?? undefined;
    } catch (error) {
      emit({ type: 'schedule.uncomputable', schedule: schedule ?? options.key ?? 'unknown', reason: String(error) });
      return undefined;
    }
  }) as RepeatStrategy;
}

/** The tick that a BullMQ job was made for, by its scheduler; null for a run that none made. */
export function tickOf(job: Pick<Job, 'id' | 'repeatJobKey'>): { schedule: string; time: number } | null {
  if (!job.repeatJobKey) return null;
  const match = /^repeat:(.+):(\d+)$/.exec(job.id ?? '');
  return match?.[1] ? { schedule: match[1], time: Number(match[2]) } : null;
}

function patternOf(timing: Timing): string {
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
