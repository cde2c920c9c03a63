// One measurement of bench/execute.mjs: prints the runs a second of one side.
import { openSync } from 'node:fs';
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import pino from 'pino';
import { runOptions } from '../dist/broker/queues.js';
import { defineJob } from '../dist/jobs/define-job.js';
import { createLogger, logEvents } from '../dist/observability/logger.js';
import { createPool } from '../dist/workers/pool.js';
import { openBench } from './broker.mjs';
import { size } from './quick.mjs';

const [side, url] = process.argv.slice(2);
const warmUp = size(10_000);
const measured = size(50_000);
const concurrency = 50;
const job = defineJob({ name: 'no-op', concurrency, run: () => null });
const broker = await openBench(url, 'patient');

await broker.client.flushall();
for (let added = 0; added < warmUp + measured; added += 1_000) {
  const runs = Array.from({ length: 1_000 }, () => ({ name: job.name, data: {}, opts: runOptions(job) }));
  await broker.queue(job.name).addBulk(runs);
}

let done = 0;
let startedAt = 0;
const finished = new Promise((resolve) => {
  const count = () => {
    done++;
    if (done === warmUp) startedAt = performance.now();
    if (done === warmUp + measured) resolve();
  };
  if (side === 'bare') startBare(count);
  else startPool(count);
});
await finished;
console.log((measured / (performance.now() - startedAt)) * 1_000);
process.exit(0);

function startBare(count) {
  const worker = new Worker(job.name, async () => null, {
    connection: new Redis(url, { maxRetriesPerRequest: null }),
    prefix: broker.keys.queuePrefix(job.name),
    concurrency,
  });
  worker.on('completed', count);
}

function startPool(count) {
  // Real lines, to a real file: /dev/null takes them as a terminal's pipe would.
  const log = logEvents(createLogger('info', pino.destination({ dest: openSync('/dev/null', 'w'), sync: true })));
  const emit = (event) => {
    log(event);
    if (event.type === 'run.succeeded') count();
  };
  void createPool({ broker, jobs: [job], emit, now: Date.now, random: Math.random }).start();
}
