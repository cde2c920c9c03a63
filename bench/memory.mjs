import { once } from 'node:events';
import autocannon from 'autocannon';
import { Redis } from 'ioredis';
import { body, headers, start } from './enqueue.mjs';
import { size } from './quick.mjs';

const requests = size(1_000_000);
const stages = 10;

/**
 * The memory of an api process over a million enqueues with 100 connections: what is left after a collection, a
 * hundred thousand requests at a time. Redis is emptied in between.
 */
export async function memory(url) {
  const { child, lines, word: port } = await start('rondo', url, ['--expose-gc']);
  const redis = new Redis(url);
  const look = async () => {
    child.stdin.write('memory\n');
    const [line] = await once(lines, 'line');
    return JSON.parse(line);
  };
  const tell = (done, { heapUsed, rss }) =>
    console.log(
      `${done.toLocaleString('en').padStart(9)} requests  heap ${megabytes(heapUsed)}  rss ${megabytes(rss)}`,
    );
  tell(0, await look());
  for (let stage = 1; stage <= stages; stage++) {
    const { non2xx, errors } = await autocannon({
      url: `http://127.0.0.1:${port}/v1/jobs/send-email/runs`,
      method: 'POST',
      headers,
      body,
      connections: 100,
      amount: requests / stages,
    });
    if (non2xx + errors > 0) throw new Error(`${non2xx} refused, ${errors} failed`);
    await redis.flushall();
    tell((stage * requests) / stages, await look());
  }
  child.kill();
  redis.disconnect();
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
