import type { RondoEvent } from '../jobs/events.js';

/** What may become of an attempt. */
export const attemptOutcomes = [
  'succeeded',
  'skipped',
  'failed',
  'timed-out',
  'cancelled',
  'interrupted',
  'lock-lost',
] as const;
export type AttemptOutcome = (typeof attemptOutcomes)[number];

/** The outcome that an event tells of an attempt; null for one that tells of none. */
export function outcomeOf(event: RondoEvent): AttemptOutcome | null {
  switch (event.type) {
    case 'run.succeeded':
      return 'succeeded';
    case 'run.skipped':
      return 'skipped';
    case 'run.failed':
      return event.code === 'run-timed-out' ? 'timed-out' : 'failed';
    case 'run.cancelled':
      return 'cancelled';
    case 'run.interrupted':
      return 'interrupted';
    case 'run.lock-lost':
      return 'lock-lost';
    default:
      return null;
  }
}
