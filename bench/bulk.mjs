import { once } from 'node:events';
import { Redis } from 'ioredis';
import { alternate, report } from './compare.mjs';
import { body, secret, start } from './enqueue.mjs';
import { size } from './quick.mjs';

const calls = size(10);
const { payload } = JSON.parse(body);
const bulk = JSON.stringify({ runs: Array.from({ length: 1_000 }, () => ({ payload })) });

/** Runs a second that are enqueued over HTTP a thousand at once, against `queue.addBulk` without any HTTP. */
export async function bulkEnqueue(url) {
  const rondo = await start('rondo', url);
  const bare = await start('addBulk', url);
  const redis = new Redis(url);
  const sides = {
    rondo: async () => {
      await redis.flushall();
      const startedAt = performance.now();
      for (let call = 0; call < calls; call++) await post(rondo.word);
      return (calls * 1_000_000) / (performance.now() - startedAt);
    },
    'queue.addBulk': async () => {
      await redis.flushall();
      bare.child.stdin.write(String(calls));
      const [perSecond] = await once(bare.lines, 'line');
      return Number(perSecond);
    },
  };
  report(await alternate(sides), 'runs/s');
  for (const { child } of [rondo, bare]) child.kill();
  redis.disconnect();
}

async function post(port) {
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${secret}` };
  const address = `http://127.0.0.1:${port}/v1/jobs/send-email/runs/bulk`;
  const response = await fetch(address, { method: 'POST', headers, body: bulk });
  if (response.status !== 202) throw new Error(`answered ${response.status}`);
  await response.arrayBuffer();
}
