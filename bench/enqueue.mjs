import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import { Redis } from 'ioredis';
import { alternate, report } from './compare.mjs';

const side = fileURLToPath(new URL('./enqueue-side.mjs', import.meta.url));
const secret = 'a-secret-for-the-benchmark';
const seconds = 4;
const body = JSON.stringify({
  payload: { to: 'ada@example.com', template: 'invoice', values: { number: 1843, amount: '12.50', due: '2026-12-01' } },
});

/**
 * Runs enqueued a second over HTTP with 100 connections: the API with a key, the payload validated and its log at
 * `info`, against an Express route that calls `queue.add` with the same options. Each server in a process of its own,
 * both for all the rounds.
 */
export async function enqueue(url) {
  const servers = { rondo: await start('rondo', url), 'bare Express': await start('bare', url) };
  const redis = new Redis(url);
  const measure = async ({ port }) => {
    await redis.flushall();
    const { requests, non2xx, errors } = await autocannon({
      url: `http://127.0.0.1:${port}/v1/jobs/send-email/runs`,
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${secret}` },
      body,
      connections: 100,
      duration: seconds,
    });
    if (non2xx + errors > 0) throw new Error(`${non2xx} refused, ${errors} failed`);
    return requests.total / seconds;
  };
  const sides = Object.entries(servers).map(([name, server]) => [name, () => measure(server)]);
  report(await alternate(Object.fromEntries(sides)), 'requests/s');
  for (const { child } of Object.values(servers)) child.kill();
  redis.disconnect();
}

async function start(name, url) {
  const child = spawn(process.execPath, [side, name, url, secret], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [port] = await once(createInterface({ input: child.stdout }), 'line');
  return { child, port };
}
