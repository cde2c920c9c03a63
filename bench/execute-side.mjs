// One side of bench/execute.mjs: executes what it finds, and says how many ms the runs took that count.
import { openSync } from 'node:fs';
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import pino from 'pino';
import { defineJob } from '../dist/jobs/define-job.js';
import { createLogger, logEvents } from '../dist/observability/logger.js';
import { createPool } from '../dist/workers/pool.js';
import { openBench } from './broker.mjs';

const [side, name, url] = process.argv.slice(2);
const concurrency = 50;
const broker = await openBench(url, 'patient');

let count = () => {};
if (side === 'bare') startBare();
else await startPool();

process.on('message', ({ runs, edge }) => {
  let done = 0;
  let startedAt = 0;
  let tookMs = 0;
  count = () => {
    done++;
    if (done === edge) startedAt = performance.now();
    if (done === edge + runs) tookMs = performance.now() - startedAt;
    if (done === runs + 2 * edge) process.send(tookMs);
  };
});
process.send('ready');

function startBare() {
  const worker = new Worker(name, async () => null, {
    connection: new Redis(url, { maxRetriesPerRequest: null }),
    prefix: broker.keys.queuePrefix(name),
    concurrency,
  });
  worker.on('completed', () => count());
}

function startPool() {
  // Real lines, to a real file: /dev/null takes them as a terminal's pipe would.
  const log = logEvents(createLogger('info', pino.destination({ dest: openSync('/dev/null', 'w'), sync: true })));
  const emit = (event) => {
    log(event);
    if (event.type === 'run.succeeded') count();
  };
  const job = defineJob({ name, concurrency, run: () => null });
  return createPool({ broker, jobs: [job], emit, now: Date.now, random: Math.random }).start();
}
