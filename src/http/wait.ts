import type { Response } from 'express';
import type { RunEvent } from '../broker/run-events.js';
import { RondoError } from '../errors.js';
import type { Redactor } from '../jobs/secrets.js';
import type { RunView } from '../producers/run-view.js';
import type { RunWatch } from '../producers/run-watch.js';
import { waits } from './waits.js';

export interface WaitInput<View extends RunView> {
  readonly watch: RunWatch;
  readonly job: string;
  readonly id: string;
  /** Finds the run as it is. */
  readonly look: () => Promise<View>;
  /** Hides the run's secrets in what events tell of it. */
  readonly redactor: Redactor;
  readonly waitMs: number;
  /** Who waits; nobody any more once it has closed. */
  readonly response: Response;
}

/**
 * The run as soon as it has ended, or as it is when the time is over or the process stops.
 *
 * @throws RondoError `waiters-full`, `run-unknown` where it was removed, or `redis-unreachable`
 */
export async function untilEnded<View extends RunView>({
  watch,
  job,
  id,
  look,
  redactor,
  waitMs,
  response,
}: WaitInput<View>): Promise<View> {
  let latest = await look();
  if (hasEnded(latest) || response.destroyed) return latest;
  waits(response);
  return new Promise<View>((resolve, reject) => {
    const { ready, leave } = watch.watch(job, id, {
      onNews: (event) => {
        if (event === null || endings.has(event.type)) void check(event);
      },
      onAway: (error) => settle(() => reject(asUnreachable(error))),
      onStop: () => {
        response.setHeader('Connection', 'close');
        settle(() => resolve(latest));
      },
    });
    const timer = setTimeout(() => settle(() => resolve(look())), waitMs);
    const onClose = () => settle(() => resolve(latest));
    response.on('close', onClose);
    // It may have ended before anybody listened.
    void ready.then(() => check(null));

    let over = false;
    function settle(answer: () => void): void {
      if (over) return;
      over = true;
      clearTimeout(timer);
      response.off('close', onClose);
      leave();
      answer();
    }

    async function check(event: RunEvent | null): Promise<void> {
      if (over) return;
      try {
        latest = await look();
        if (hasEnded(latest)) settle(() => resolve(latest));
      } catch (error) {
        const ended = endedSince(latest, event, redactor);
        settle(() => (ended ? resolve(ended) : reject(error)));
      }
    }
  });
}

/** The events after which a run is not what it was. */
export const endings: ReadonlySet<string> = new Set(['completed', 'failed', 'removed']);

export function hasEnded({ state }: RunView): boolean {
  return state === 'completed' || state === 'failed';
}

/** A run that is kept no longer than it takes has ended and is gone: what it came to is in the event. */
export function endedSince<View extends RunView>(
  latest: View,
  event: RunEvent | null,
  { text, value }: Redactor,
): View | null {
  const data = event?.data ?? null;
  if (event?.type === 'completed') return { ...latest, state: 'completed', result: value(JSON.parse(data ?? 'null')) };
  return event?.type === 'failed' ? { ...latest, state: 'failed', error: data && text(data) } : null;
}

export function asUnreachable(cause: unknown): RondoError {
  return new RondoError('redis-unreachable', cause instanceof Error ? cause.message : String(cause), { cause });
}
