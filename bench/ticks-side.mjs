// One measurement of bench/ticks.mjs: prints, as JSON, what one side did with many schedules.
import { openSync } from 'node:fs';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import pino from 'pino';
import { runOptions } from '../dist/broker/queues.js';
import { packEntry } from '../dist/broker/tick-entry.js';
import { defineJob } from '../dist/jobs/define-job.js';
import { createRegistry } from '../dist/jobs/registry.js';
import { createLogger, logEvents } from '../dist/observability/logger.js';
import { wantedOf } from '../dist/producers/plan.js';
import { reconcile } from '../dist/producers/schedules.js';
import { createPool } from '../dist/workers/pool.js';
import { openBench } from './broker.mjs';

const [side, url, what, count, everySeconds, seconds, spread] = process.argv.slice(2);
const concurrency = 50;
const every = Number(everySeconds) * 1_000;
const ids = Array.from({ length: Number(count) }, (_, index) => `s${index}`);
/** What a run tells: when it was due, in ms since the epoch. */
let onTick = () => {};
const job = defineJob({
  name: 'ticks',
  concurrency,
  schedules: ids.map((id) => ({ id, every, ...(spread && { spread: Number(spread) }) })),
  run: ({ tick }) => onTick(tick.time.getTime() + (offsets.get(tick.schedule) ?? 0)),
});
const offsets = new Map(job.schedules.map(({ id, timing }) => [id, timing.offset ?? 0]));
const registry = createRegistry([job]);
const broker = await openBench(url, 'patient');
await broker.client.flushall();
const sides = { rondo: { declare: declareRondo, work: workRondo }, bare: { declare: declareBare, work: workBare } };
const measures = { drain, lateness, memory, entry };
console.log(JSON.stringify(await measures[what](sides[side])));
process.exit(0);

/** Ticks a second, of ticks that all wait when the worker comes. */
async function drain({ declare, work }) {
  const queue = await declare();
  const delayed = queue.toKey('delayed');
  const waiting = await broker.client.zrange(delayed, '0', '-1');
  const due = String(Date.now() * 0x1000);
  for (let first = 0; first < waiting.length; first += 1_000) {
    await broker.client.zadd(delayed, ...waiting.slice(first, first + 1_000).flatMap((id) => [due, id]));
  }
  let done = 0;
  let startedAt = 0;
  const finished = new Promise((resolve) => {
    onTick = () => {
      startedAt ||= performance.now();
      if (++done === ids.length) resolve();
    };
  });
  work();
  await finished;
  return { perSecond: (ids.length / (performance.now() - startedAt)) * 1_000 };
}

/** From when a tick is due until its handler runs, in ms, after a second that does not count. */
async function lateness({ declare, work }) {
  work();
  await declare();
  const lates = [];
  await wait(1_000 + every);
  onTick = (due) => lates.push(Date.now() - due);
  await wait(Number(seconds) * 1_000);
  lates.sort((a, b) => a - b);
  const at = (share) => lates[Math.min(lates.length - 1, Math.floor(share * lates.length))];
  return { ticks: lates.length, p50: at(0.5), p99: at(0.99), p999: at(0.999) };
}

/** Bytes of Redis for a schedule that waits for its next tick. */
async function memory({ declare }) {
  const before = await usedMemory();
  await declare();
  return { bytes: ((await usedMemory()) - before) / ids.length };
}

/** Bytes of Redis for an entry of a full ledger: ticks a minute apart that ran. */
async function entry() {
  const key = 'bench:entries';
  for (let index = 0; index < 1_000; index++) {
    const time = Date.UTC(2026, 10, 21) + index * 60_000;
    const [claimed, started, finished] = [time + 7, time + 8, time + 8 + index];
    const packed = packEntry('daily-digest', {
      ...{ time, due: time, claimed, started, finished, attempts: 1, outcome: 'succeeded' },
      run: `repeat:daily-digest:${time}`,
    });
    await broker.client.zadd(key, time, packed);
  }
  return { bytes: (await broker.client.memory('USAGE', key, 'SAMPLES', 0)) / 1_000 };
}

async function declareRondo() {
  const input = { app: 'bench', release: '1', wanted: wantedOf(registry), now: Date.now };
  const { failed } = await reconcile(broker, input, () => {});
  if (failed.length > 0) throw failed[0].error;
  return broker.queue(job.name);
}

/** Aligned as Rondo's are: a cron of seconds, and BullMQ's own reading of it. */
async function declareBare() {
  const queue = new Queue('ticks', { connection: new Redis(url), prefix: 'bare' });
  const pattern = every < 60_000 ? `*/${every / 1_000} * * * * *` : '0 * * * *';
  for (let first = 0; first < ids.length; first += 1_000) {
    const batch = ids.slice(first, first + 1_000);
    await Promise.all(
      batch.map((id) => queue.upsertJobScheduler(id, { pattern }, { name: 'ticks', data: {}, opts: runOptions(job) })),
    );
  }
  return queue;
}

function workRondo() {
  // Real lines, to a real file: /dev/null takes them as a terminal's pipe would.
  const log = logEvents(createLogger('info', pino.destination({ dest: openSync('/dev/null', 'w'), sync: true })));
  void createPool({ broker, jobs: [job], emit: log, now: Date.now, random: Math.random }).start();
}

function workBare() {
  const run = async ({ id }) => onTick(Number(id.slice(id.lastIndexOf(':') + 1)));
  new Worker('ticks', run, {
    connection: new Redis(url, { maxRetriesPerRequest: null }),
    prefix: 'bare',
    concurrency,
  }).on('error', () => {});
}

async function usedMemory() {
  const info = await broker.client.info('memory');
  return Number(/used_memory:(\d+)/.exec(info)[1]);
}

function wait(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
