import { Queue } from 'bullmq';
import { z } from 'zod';
import { repeatOptions } from '../dist/broker/repeat.js';
import { defineJob } from '../dist/jobs/define-job.js';
import { createRegistry } from '../dist/jobs/registry.js';
import { wantedOf } from '../dist/producers/plan.js';
import { reconcile as bringInLine } from '../dist/producers/schedules.js';
import { openBench } from './broker.mjs';
import { alternate, report } from './compare.mjs';
import { size } from './quick.mjs';

/** A start with unchanged schedules: reading, comparing and hashing, against upserting them all. */
export async function reconcile(url) {
  const broker = await openBench(url, 'fail-fast');

  await broker.client.flushall();
  const few = definitions(size(10_000));
  console.log('10,000 unchanged schedules:');
  await start(broker, few);
  const bare = new Queue('report', { connection: broker.client, prefix: 'bare' });
  report(
    await alternate({
      'bare BullMQ, upsert all': () => timed(() => upsertAll(bare, few, bareOptions)),
      rondo: () => timed(() => start(broker, few)),
      'upsert all with our strategy': () => timed(() => upsertAll(broker.queue('report'), few, ourOptions)),
    }),
    'ms',
  );
  await bare.close();

  await broker.client.flushall();
  const defined = await timedValue(() => definitions(size(100_000)));
  console.log(`\n100,000 schedules: defined and checked in ${defined.ms} ms`);
  console.log(`first start, all added: ${await timed(() => start(broker, defined.value))} ms`);
  report(await alternate({ 'start, all unchanged': () => timed(() => start(broker, defined.value)) }), 'ms');
  await broker.client.flushall();
  await broker.close();
}

function definitions(count) {
  const schedules = Array.from({ length: count }, (_, index) => ({
    id: `s${index}`,
    cron: `${index % 60} ${Math.floor(index / 60) % 24} * * *`,
    timezone: 'Europe/Paris',
    payload: { tenant: index },
  }));
  return createRegistry([defineJob({ name: 'report', payload: z.unknown(), schedules, run: () => null })]);
}

async function start(broker, registry) {
  const input = { app: 'bench', release: '1', wanted: wantedOf(registry), now: Date.now, isStart: true };
  const { failed } = await bringInLine(broker, input, () => {});
  if (failed.length > 0) throw failed[0].error;
}

/** What a team does without Rondo: every schedule upserted at each start. */
async function upsertAll(queue, registry, optionsOf) {
  const upserts = wantedOf(registry).map(({ id, specification: { job, timing, policy, payload, options } }) =>
    queue.upsertJobScheduler(id, optionsOf(id, timing, policy), { name: job, data: payload, opts: options }),
  );
  await Promise.all(upserts);
}

const ourOptions = repeatOptions;
const bareOptions = (_id, { cron, timezone }) => ({ pattern: cron, tz: timezone });

async function timed(work) {
  return (await timedValue(work)).ms;
}

async function timedValue(work) {
  const startedAt = performance.now();
  const value = await work();
  return { value, ms: Math.round(performance.now() - startedAt) };
}
