import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { defineJob } from '../define-job.js';

export interface PingSettings {
  /** Whether it takes runs: whoever may enqueue could keep all workers busy with it. */
  readonly on: boolean;
  /** At least 0 and less than 1: which runs fail, where some are to. */
  readonly random?: () => number;
}

/**
 * Does nothing, or as much as it is told to: what a load test enqueues to see what queues, Redis and workers take, and
 * not what a job's own work costs.
 */
export function ping({ on, random = Math.random }: PingSettings) {
  return defineJob({
    name: 'ping',
    description: 'Does nothing, for load tests',
    payload: z.strictObject({
      sleepMs: z.int().min(0).max(60_000).default(0),
      /** Which share of the attempts fails, from 0 to 1. */
      failRate: z.number().min(0).max(1).default(0),
      /** How long the result is. */
      bytes: z.int().min(0).max(65_536).default(0),
    }),
    retry: { attempts: 3, delay: '1s' },
    timeout: '90s',
    concurrency: 50,
    retention: { completed: { age: '1h', count: 1_000 }, failed: { age: '1h', count: 1_000 } },
    // What is meant to fail is no news.
    alerts: false,
    off: on ? null : 'RONDO_PING is not on',
    async run({ payload: { sleepMs, failRate, bytes }, signal }) {
      if (sleepMs > 0) await sleep(sleepMs, undefined, { signal });
      if (random() < failRate) throw new Error(`failed, as ${failRate * 100} % of all pings do`);
      return 'x'.repeat(bytes);
    },
  });
}
