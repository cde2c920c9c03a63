import { z } from 'zod';
import { duration } from '../duration.js';
import type { Problem } from '../errors.js';
import { type Deduplicate, deduplicationKey, deduplicationKeyWords } from './deduplicate.js';

/** Overrides for one run. Durations in ms, times in ms since the epoch. */
export interface EnqueueOptions {
  readonly delay?: number;
  readonly priority?: number;
  readonly attempts?: number;
  /** The run is not started later than this long after its delay is over; below 0 where it is too late already. */
  readonly expiresIn?: number;
  readonly deduplicate?: Deduplicate;
}

const yearMs = 365 * 86_400_000;

const deduplicate = z
  .strictObject({
    key: z.string().regex(deduplicationKey, deduplicationKeyWords),
    ttl: duration({ min: 1, max: yearMs }).optional(),
    mode: z.enum(['throttle', 'debounce']).default('throttle'),
  })
  .superRefine(({ mode, ttl }, context) => {
    if (mode !== 'debounce' || ttl !== undefined) return;
    context.addIssue({ code: 'custom', path: ['ttl'], message: 'how long to wait for the next, with mode "debounce"' });
  });

/** What whoever enqueues may say of a run, beside its payload. */
export const enqueueFields = {
  delay: duration({ max: yearMs }).optional(),
  at: z.iso.datetime({ offset: true, error: 'an ISO time with a zone, such as "2026-11-21T07:00:00Z"' }).optional(),
  priority: z.int().min(1).max(2_097_151).optional(),
  attempts: z.int().min(1).max(1_000).optional(),
  expiresIn: duration({ min: 1 }).optional(),
  deduplicate: deduplicate.optional(),
};

const fields = z.object(enqueueFields);
type Fields = z.output<typeof fields>;

/** A run has one time at most: which of the fields stand against each other. */
export function refuseTwoTimes({ at, delay, deduplicate }: Fields, context: z.RefinementCtx): void {
  const refuse = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
  if (at !== undefined && delay !== undefined) refuse('at', 'either delay or at, not both');
  if (deduplicate?.mode !== 'debounce') return;
  const without = 'none beside mode "debounce", whose ttl is the delay';
  if (delay !== undefined) refuse('delay', without);
  if (at !== undefined) refuse('at', without);
}

/** @param now in ms since the epoch: what `at` is reckoned from */
export function enqueueOptions(
  { at, delay, deduplicate, expiresIn, ...rest }: Fields,
  now: number,
): { readonly options: EnqueueOptions } | { readonly problem: Problem } {
  const times = timesOf({ at: at === undefined ? undefined : Date.parse(at), delay, expiresIn }, now);
  if (times.delay !== undefined && times.delay > yearMs) {
    return { problem: { where: 'at', expected: 'a time within a year', got: JSON.stringify(at) } };
  }
  const by = deduplicate && { deduplicate: deduplicate as Deduplicate };
  return { options: { ...rest, ...times, ...by } as EnqueueOptions };
}

/** All in ms; `at` and `now` since the epoch. */
export function timesOf(
  { at, delay, expiresIn }: Readonly<Partial<Record<'at' | 'delay' | 'expiresIn', number | undefined>>>,
  now: number,
): Pick<EnqueueOptions, 'delay' | 'expiresIn'> {
  const untilAt = at === undefined ? 0 : at - now;
  const later = at === undefined ? delay : Math.max(0, untilAt);
  return {
    ...(later && { delay: later }),
    // It was due at `at`, and not when it is enqueued.
    ...(expiresIn !== undefined && { expiresIn: expiresIn + Math.min(0, untilAt) }),
  };
}
