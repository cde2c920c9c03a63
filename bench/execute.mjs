import { Worker } from 'bullmq';
import { openBroker, runOptions } from '../dist/broker/queues.js';
import { defineJob } from '../dist/jobs/define-job.js';
import { createLogger, logEvents } from '../dist/observability/logger.js';
import { createPool } from '../dist/workers/pool.js';
import { alternate, report } from './compare.mjs';

const runs = 20_000;
const concurrency = 50;
const silent = { write() {} };

/** No-op runs a second at concurrency 50: a pool with its log at `info`, against a bare BullMQ worker with the same retention. */
export async function execute(url) {
  const job = defineJob({ name: 'no-op', concurrency, run: () => null });
  const broker = await openBroker({
    redis: { kind: 'single', url, shown: url },
    profile: 'patient',
    prefix: 'bench',
    ruleOf: () => undefined,
    emit() {},
  });
  const queue = broker.queue(job.name);

  const drain = async (startWorker) => {
    await broker.client.flushall();
    for (let added = 0; added < runs; added += 1_000) {
      await queue.addBulk(Array.from({ length: 1_000 }, () => ({ name: job.name, data: {}, opts: runOptions(job) })));
    }
    let left = runs;
    let startedAt = 0;
    let stop;
    await new Promise((resolve) => {
      startedAt = performance.now();
      stop = startWorker(() => --left === 0 && resolve());
    });
    const tookMs = performance.now() - startedAt;
    await (await stop)();
    return (runs / tookMs) * 1_000;
  };

  const pool = (done) => {
    const log = logEvents(createLogger('info', silent));
    const emit = (event) => {
      log(event);
      if (event.type === 'run.succeeded') done();
    };
    const made = createPool({ broker, jobs: [job], emit, now: Date.now, random: Math.random });
    return made.start().then(() => () => made.stop(Date.now() + 5_000));
  };

  const bare = (done) => {
    const worker = new Worker(job.name, async () => null, {
      connection: broker.client,
      prefix: broker.keys.queuePrefix(job.name),
      concurrency,
    });
    worker.on('completed', done);
    return () => worker.close();
  };

  report(await alternate({ rondo: () => drain(pool), 'bare BullMQ': () => drain(bare) }), 'runs/s');
  await broker.close();
}
