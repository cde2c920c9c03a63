import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import { Redis } from 'ioredis';
import { alternate, report } from './compare.mjs';

const side = fileURLToPath(new URL('./enqueue-side.mjs', import.meta.url));
export const secret = 'a-secret-for-the-benchmark';
const seconds = 4;
const headers = { 'content-type': 'application/json', authorization: `Bearer ${secret}` };
export const body = JSON.stringify({
  payload: { to: 'ada@example.com', template: 'invoice', values: { number: 1843, amount: '12.50', due: '2026-12-01' } },
});

/**
 * Runs enqueued a second over HTTP with 100 connections: the API with a key, the payload validated and its log at
 * `info`, against an Express route that calls `queue.add` with the same options. Each server in a process of its own,
 * both for all the rounds.
 */
export async function enqueue(url) {
  const [rondo, bare] = [await start('rondo', url), await start('bare', url)];
  const redis = new Redis(url);
  let sent = 0;
  const key = () => ({ 'idempotency-key': `key-${sent++}` });
  const measure = async ({ word: port }, headersOfEach = null) => {
    await redis.flushall();
    const { requests, non2xx, errors } = await autocannon({
      url: `http://127.0.0.1:${port}/v1/jobs/send-email/runs`,
      method: 'POST',
      headers,
      ...(headersOfEach && {
        requests: [{ setupRequest: (request) => ({ ...request, headers: { ...headers, ...headersOfEach() } }) }],
      }),
      body,
      connections: 100,
      duration: seconds,
    });
    if (non2xx + errors > 0) throw new Error(`${non2xx} refused, ${errors} failed`);
    return requests.total / seconds;
  };
  report(await alternate({ rondo: () => measure(rondo), 'bare Express': () => measure(bare) }), 'requests/s');
  console.log('\nwith an Idempotency-Key of its own on each:');
  report(await alternate({ rondo: () => measure(rondo, key), 'bare Express': () => measure(bare, key) }), 'requests/s');
  for (const { child } of [rondo, bare]) child.kill();
  redis.disconnect();
}

/** One side, in a process of its own, and the first word that it says: for a server its port. */
export async function start(name, url) {
  const child = spawn(process.execPath, [side, name, url, secret], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const [word] = await once(lines, 'line');
  return { child, lines, word };
}
