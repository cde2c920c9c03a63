// One measurement of bench/backfill.mjs: prints, as JSON, what it saw.
import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import pino from 'pino';
import { defineJob } from '../dist/jobs/define-job.js';
import { createRegistry } from '../dist/jobs/registry.js';
import { createLogger, logEvents } from '../dist/observability/logger.js';
import { beginBackfill } from '../dist/producers/backfill.js';
import { feedBackfill } from '../dist/producers/feed.js';
import { wantedOf } from '../dist/producers/plan.js';
import { reconcile } from '../dist/producers/schedules.js';
import { createPool } from '../dist/workers/pool.js';
import { openBench } from './broker.mjs';
import { ms } from './quick.mjs';

const [url, what, count, runMs, live] = process.argv.slice(2);
const liveIds = Array.from({ length: 100 }, (_, index) => `live-${index}`);
const liveTiming = live === 'spread' ? { every: '1s', spread: '1s' } : { every: '1s' };
let onLive = () => {};
let backfilled = 0;
const job = defineJob({
  name: 'ticks',
  concurrency: 10,
  schedules: [{ id: 'minutely', every: '1m' }, ...liveIds.map((id) => ({ id, ...liveTiming }))],
  run: ({ tick }) => {
    if (tick.schedule !== 'minutely') return onLive(tick.time.getTime() + (offsets.get(tick.schedule) ?? 0));
    backfilled++;
    return Number(runMs) > 0 ? wait(Number(runMs)) : null;
  },
});
const offsets = new Map(job.schedules.map(({ id, timing }) => [id, timing.offset ?? 0]));
const wanted = wantedOf(createRegistry([job]));
const broker = await openBench(url, 'patient');
const measures = { feed: feedAlone, live: lateness, feeder: feed };
console.log(JSON.stringify(await measures[what]()));
process.exit(0);

async function feedAlone() {
  await broker.client.flushall();
  await declare();
  return feed();
}

/** Runs added a second. */
async function feed() {
  const now = Date.now();
  const range = { from: now - Number(count) * 60_000, to: now, onlyMissed: false };
  const { backfill } = await beginBackfill(broker, 'minutely', { ...range, by: 'bench', now, confirmed: true });
  const { specification } = wanted.find(({ id }) => id === 'minutely');
  const startedAt = performance.now();
  const { fed } = await feedBackfill(broker, backfill, specification);
  return { perSecond: (fed / (performance.now() - startedAt)) * 1_000 };
}

/** From when a live tick is due to its handler, in ms, over 20 s, while a backfill is fed by another process and runs. */
async function lateness() {
  await broker.client.flushall();
  // Real lines, to a real file: /dev/null takes them as a terminal's pipe would.
  const log = logEvents(createLogger('info', pino.destination({ dest: openSync('/dev/null', 'w'), sync: true })));
  await createPool({ broker, jobs: [job], emit: log, now: Date.now, random: Math.random }).start();
  await declare();
  await wait(ms(3_000));
  const lates = [];
  onLive = (due) => lates.push(Date.now() - due);
  if (Number(count) > 0) spawn(process.execPath, [fileURLToPath(import.meta.url), url, 'feeder', count]);
  await wait(ms(20_000));
  lates.sort((a, b) => a - b);
  const at = (share) => lates[Math.min(lates.length - 1, Math.floor(share * lates.length))];
  return { ticks: lates.length, p50: at(0.5), p99: at(0.99), backfilled };
}

async function declare() {
  const { failed } = await reconcile(broker, { app: 'bench', release: '1', wanted, now: Date.now }, () => {});
  if (failed.length > 0) throw failed[0].error;
}

function wait(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
