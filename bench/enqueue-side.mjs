// One side of bench/enqueue.mjs: a server that takes runs, and says on which port.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { createServer } from 'node:http';
import { Queue } from 'bullmq';
import express from 'express';
import { Redis } from 'ioredis';
import pino from 'pino';
import { z } from 'zod';
import { runOptions } from '../dist/broker/queues.js';
import { createApiServer } from '../dist/http/server.js';
import { defineJob } from '../dist/jobs/define-job.js';
import { createRegistry } from '../dist/jobs/registry.js';
import { createLogger, logEvents } from '../dist/observability/logger.js';
import { openBench } from './broker.mjs';

const [side, url, secret] = process.argv.slice(2);
const job = defineJob({
  name: 'send-email',
  payload: z.object({
    to: z.email(),
    template: z.enum(['welcome', 'digest', 'invoice']),
    locale: z.string().default('en'),
    values: z.record(z.string(), z.string().or(z.number())).default({}),
  }),
  run: () => null,
});
const broker = await openBench(url, 'fail-fast');
if (side === 'addBulk') await addBulk();
else console.log(side === 'bare' ? await startBare() : await startRondo());

/** No server at all: tells how many runs a second BullMQ takes, a thousand with each call. */
async function addBulk() {
  const queue = new Queue(job.name, { connection: new Redis(url), prefix: 'bare' });
  const runs = Array.from({ length: 1_000 }, () => ({
    name: job.name,
    data: { to: 'ada@example.com', template: 'invoice', values: { number: 1843, amount: '12.50', due: '2026-12-01' } },
    opts: runOptions(job),
  }));
  await queue.addBulk(runs);
  process.stdin.on('data', async (text) => {
    const calls = Number(text);
    const startedAt = performance.now();
    for (let call = 0; call < calls; call++) await queue.addBulk(runs);
    console.log((calls * runs.length * 1_000) / (performance.now() - startedAt));
  });
  console.log('ready');
}

/** What one would write without Rondo: no key, no validation, no log; the same options for the run. */
async function startBare() {
  const queue = new Queue(job.name, { connection: new Redis(url), prefix: 'bare' });
  const app = express();
  app.post('/v1/jobs/send-email/runs', express.json(), async (request, response) => {
    const { id } = await queue.add(job.name, request.body.payload, runOptions(job));
    response.status(202).json({ id });
  });
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

async function startRondo() {
  const keys = [{ name: 'shop', digest: createHash('sha256').update(secret).digest(), scopes: ['enqueue'] }];
  // Real lines, to a real file: /dev/null takes them as a terminal's pipe would.
  const logger = createLogger('info', pino.destination({ dest: openSync('/dev/null', 'w'), sync: true }));
  const api = createApiServer({
    broker,
    registry: createRegistry([job]),
    deployment: { app: 'bench', release: '1' },
    keys: () => keys,
    settings: { rateLimit: null, trustProxy: false, corsOrigins: [] },
    emit: logEvents(logger),
    now: Date.now,
    metrics: async () => ({ contentType: 'text/plain', text: '' }),
    host: '127.0.0.1',
    port: 0,
  });
  process.stdin.on('data', () => {
    globalThis.gc();
    console.log(JSON.stringify(process.memoryUsage()));
  });
  await api.start();
  return new URL(api.address()).port;
}
