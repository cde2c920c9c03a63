import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { inject, onTestFinished, test } from 'vitest';
import { defineJob } from '../../src/jobs/define-job.js';
import { enqueue } from '../../src/producers/runs.js';
import { fixture } from '../support/harness.js';

test('a worker whose connections fall silent, as after a loss of power on the other side, connects anew and goes on', {
  timeout: 120_000,
}, async () => {
  const job = defineJob({ name: 'work', run: () => 'done' });
  const { port, silence } = await muteable(new URL(inject('redisUrl')));
  const direct = await fixture([job]);
  const { events, work } = await fixture([job], { url: `redis://127.0.0.1:${port}`, prefix: direct.prefix });
  await work();
  await enqueue(direct.broker, job, {});
  await events.next('run.succeeded');

  silence();
  const id = await enqueue(direct.broker, job, {});
  await events.next('redis.away', undefined, 60_000);
  await events.next('run.succeeded', ({ run }) => run === id, 60_000);
});

/** A way to a server, whose connections up to a moment carry nothing any more from there on, and do not end either. */
async function muteable(to: URL) {
  const open = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(to.port || 6_379), to.hostname);
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) {
      socket.on('error', () => {});
      open.add(socket);
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const silence = () => {
    for (const socket of open) {
      socket.unpipe();
      socket.pause();
    }
  };
  return { port: (server.address() as AddressInfo).port, silence };
}
