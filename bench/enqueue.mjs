import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import { Redis } from 'ioredis';
import { alternate, quartilesOf, report } from './compare.mjs';
import { ms, rounds } from './quick.mjs';

const side = fileURLToPath(new URL('./enqueue-side.mjs', import.meta.url));
export const secret = 'a-secret-for-the-benchmark';
const seconds = ms(4_000) / 1_000;
export const headers = { 'content-type': 'application/json', authorization: `Bearer ${secret}` };
export const body = JSON.stringify({
  payload: { to: 'ada@example.com', template: 'invoice', values: { number: 1843, amount: '12.50', due: '2026-12-01' } },
});

/**
 * Runs enqueued a second over HTTP with 100 connections: the API with a key, the payload validated and its log at
 * `info`, against an Express route that calls `queue.add` with the same options; and how long the slowest hundredth of
 * the requests took. Each server in a process of its own, both for all the rounds.
 */
export async function enqueue(url) {
  const servers = { rondo: await start('rondo', url), 'bare Express': await start('bare', url) };
  const redis = new Redis(url);
  let sent = 0;
  const key = () => ({ 'idempotency-key': `key-${sent++}` });
  const measure = async ({ word: port }, headersOfEach = null) => {
    await redis.flushall();
    const { requests, latency, non2xx, errors } = await autocannon({
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
    return { rate: requests.total / seconds, p99: latency.p99 };
  };
  for (const [title, headersOfEach] of [
    ['', null],
    ['\nwith an Idempotency-Key of its own on each:', key],
  ]) {
    if (title) console.log(title);
    const p99s = Object.fromEntries(Object.keys(servers).map((name) => [name, []]));
    const sides = Object.entries(servers).map(([name, server]) => [
      name,
      async () => {
        const { rate, p99 } = await measure(server, headersOfEach);
        p99s[name].push(p99);
        return rate;
      },
    ]);
    report(await alternate(Object.fromEntries(sides)), 'requests/s');
    for (const values of Object.values(p99s)) values.splice(0, rounds(9).before); // what does not count
    console.log('p99 of the same rounds:');
    report(quartilesOf(p99s), 'ms');
  }
  for (const { child } of Object.values(servers)) child.kill();
  redis.disconnect();
}

/** One side, in a process of its own, and the first word that it says: for a server its port. */
export async function start(name, url, flags = []) {
  const child = spawn(process.execPath, [...flags, side, name, url, secret], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const [word] = await once(lines, 'line');
  return { child, lines, word };
}
