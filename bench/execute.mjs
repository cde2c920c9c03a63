import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { runOptions } from '../dist/broker/queues.js';
import { defineJob } from '../dist/jobs/define-job.js';
import { openBench } from './broker.mjs';
import { inRounds, report } from './compare.mjs';
import { size } from './quick.mjs';

const sideFile = fileURLToPath(new URL('./execute-side.mjs', import.meta.url));
/** Until both are as fast as they get: compiling all that a run passes through takes the pool some 25,000. */
const warmUp = size(25_000);
const measured = size(30_000);
/** The sides take turns within a round too: a machine's speed changes from one second to the next. */
const turn = size(2_000);
/** So many at either end of a turn do not count: the worker wakes up, and has less than 50 left. */
const edge = 250;
/** How fast a process is differs by a tenth from one start to the next, with the same code: a round has several of each side. */
const pairs = size(2);

/**
 * No-op runs a second at concurrency 50: a pool with its log at `info`, against a bare BullMQ worker with the same
 * retention. Each side in a process of its own, since the pool's asynchronous contexts would slow down everything else in
 * its process, the other side too. What they execute is enqueued from here: a process that has enqueued thousands is
 * slower ever after, of either side, since V8 allocates where it expects them to stay.
 */
export async function execute(url) {
  const broker = await openBench(url, 'patient');
  const results = await inRounds(async () => {
    const took = { rondo: 0, bare: 0 };
    for (let pair = 0; pair < pairs; pair++) {
      await broker.client.flushall();
      await measurePair(url, broker, took);
    }
    const perSecond = (ms) => (pairs * measured * 1_000) / ms;
    return { rondo: perSecond(took.rondo), 'bare BullMQ': perSecond(took.bare) };
  });
  await broker.close();
  report(results, 'runs/s');
}

/** Adds how many ms each side took. */
async function measurePair(url, broker, took) {
  const sides = [await start('rondo', url), await start('bare', url)];
  for (const side of sides) await run(side, broker, warmUp);
  for (let done = 0; done < measured; done += turn) {
    for (const side of sides.reverse()) took[side.name] += await run(side, broker, turn);
  }
  for (const { child } of sides) child.kill();
}

async function start(name, url) {
  const job = defineJob({ name: `no-op-${name}`, run: () => null });
  const child = fork(sideFile, [name, job.name, url]);
  await once(child, 'message');
  return { name, job, child };
}

/** Answers how many ms the side took for the runs. */
async function run({ job, child }, broker, runs) {
  const queue = broker.queue(job.name);
  const each = { name: job.name, data: {}, opts: runOptions(job) };
  await queue.pause();
  for (let left = runs + 2 * edge; left > 0; left -= 1_000) {
    await queue.addBulk(Array.from({ length: Math.min(left, 1_000) }, () => each));
  }
  child.send({ runs, edge });
  await queue.resume();
  const [tookMs] = await once(child, 'message');
  return tookMs;
}
