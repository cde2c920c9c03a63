import type { Job } from 'bullmq';
import type { Agent } from 'undici';
import { backfillOf } from '../broker/lane.js';
import type { RunOptions } from '../broker/queues.js';
import type { Emit, RondoEvent } from '../jobs/events.js';
import { type Allowance, checkUrl, createGuardedAgent } from '../jobs/guarded-agent.js';
import { type Ping, ping, pingUrl } from '../jobs/healthcheck.js';

/** So many runs are told of at once; whoever comes then is not told of: nothing may pile up behind a slow service. */
const mostUnderWay = 500;

/**
 * Tells the dead man's switches of schedules how their ticks go. Nobody waits for it, and nothing fails with it.
 *
 * @param allow what may be pinged though its address is not public: schedules are put over the API as well
 */
export function createHealthchecks(allow: Allowance, emit: Emit) {
  let agent: Promise<Agent> | undefined;
  /** What is on its way, by run: a later word never overtakes an earlier one. */
  const underWay = new Map<string, Promise<void>>();

  /** Passes on what is told of a run, and pings. The same function where there is nothing to ping. */
  function follow(job: Job, told: Emit): Emit {
    const { healthcheck } = job.opts as RunOptions;
    // What is made up for later says nothing about today.
    if (healthcheck === undefined || backfillOf(job)) return told;
    return (event) => {
      told(event);
      const kind = pingOf(event);
      if (kind) enqueue(healthcheck, kind, String(job.id));
    };
  }

  function enqueue(base: string, kind: Ping, run: string): void {
    const before = underWay.get(run);
    if (!before && underWay.size >= mostUnderWay) {
      tellFailure(base, kind, 'too many are told at once');
      return;
    }
    const sent = (before ?? Promise.resolve())
      .then(() => send(base, kind, run))
      .finally(() => {
        if (underWay.get(run) === sent) underWay.delete(run);
      });
    underWay.set(run, sent);
  }

  async function send(base: string, kind: Ping, run: string): Promise<void> {
    try {
      const url = pingUrl(base, kind, run);
      checkUrl(url, allow);
      agent ??= createGuardedAgent(allow);
      const trouble = await ping(url, await agent);
      if (trouble) tellFailure(base, kind, trouble);
    } catch (error) {
      tellFailure(base, kind, error instanceof Error ? error.message : 'it cannot be called');
    }
  }

  function tellFailure(base: string, kind: Ping, reason: string): void {
    const host = URL.canParse(base) ? new URL(base).host : 'no address';
    emit({ type: 'ping.failed', ping: kind, host, reason });
  }

  return {
    follow,
    /** Resolves when all that was to be told is. */
    async sent(): Promise<void> {
      await Promise.all(underWay.values());
    },
  };
}

export type Healthchecks = ReturnType<typeof createHealthchecks>;

/** A run begins once, however often it is tried, and ends once. One that is skipped or cancelled says nothing. */
function pingOf(event: RondoEvent): Ping | null {
  if (event.type === 'run.started') return event.attempt === 1 ? 'start' : null;
  if (event.type === 'run.succeeded') return 'success';
  return event.type === 'run.failed' && event.retryInMs === null ? 'fail' : null;
}
