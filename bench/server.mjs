import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { Redis } from 'ioredis';
import { startEmbedded } from '../dist/broker/embedded.js';

/** A server for the benchmarks alone: BENCH_REDIS_URL, which is emptied, else redis-server, else the embedded Valkey. */
export async function startServer({ hz = 100 } = {}) {
  if (process.env.BENCH_REDIS_URL)
    return { url: process.env.BENCH_REDIS_URL, name: 'BENCH_REDIS_URL', stop: async () => {} };
  const version = /v=(\S+)/.exec(spawnSync('redis-server', ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[1];
  if (!version) return { ...(await startEmbedded()), name: 'the embedded Valkey' };
  const port = await freePort();
  const options = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--hz', hz].map(String);
  const child = spawn('redis-server', options, { stdio: 'ignore' });
  const url = `redis://127.0.0.1:${port}`;
  const probe = new Redis(url);
  probe.on('error', () => {});
  await probe.ping();
  probe.disconnect();
  return {
    url,
    name: `Redis ${version}`,
    async stop() {
      child.kill();
      await once(child, 'exit');
    },
  };
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}
