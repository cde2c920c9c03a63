import { monitorEventLoopDelay } from 'node:perf_hooks';
import { memoryUsage } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { defineJob } from '../define-job.js';

/** Facts about the process that happens to run it: a leak or a blocked event loop shows as a trend over the hours. */
export const memoryReport = defineJob({
  name: 'memory-report',
  description: 'Logs memory and event-loop delay of a worker; collects garbage first where Node.js exposes it',
  schedules: [{ id: 'memory-report', cron: '@hourly' }],
  retry: { attempts: 1 },
  async run({ signal, log }) {
    const collected = collectGarbage();
    const eventLoopDelayMs = await measureEventLoopDelay(signal);
    const { rss, heapTotal, heapUsed, external } = memoryUsage();
    const facts = { rss, heapTotal, heapUsed, external, collected, ...eventLoopDelayMs };
    log.info(facts, 'memory report');
    return facts;
  },
});

function collectGarbage(): boolean {
  globalThis.gc?.();
  return globalThis.gc !== undefined;
}

async function measureEventLoopDelay(signal: AbortSignal) {
  const histogram = monitorEventLoopDelay({ resolution: 10 });
  histogram.enable();
  await sleep(1_000, undefined, { signal }).finally(() => histogram.disable());
  const toMs = (nanoseconds: number) => Math.round(nanoseconds / 1e4) / 100;
  return { eventLoopDelayMeanMs: toMs(histogram.mean), eventLoopDelayMaxMs: toMs(histogram.max) };
}
