import { Redis } from 'ioredis';
import { eventually } from './harness.js';
import { findFreePort, type RedisProcess, startRedis } from './servers.js';

export interface RedisCluster {
  /** As `REDIS_URL` names it. */
  readonly url: string;
  readonly nodes: readonly RedisProcess[];
  stop(): Promise<void>;
}

const slots = 16_384;

/** A cluster of `redis-server` processes on loopback that share the slots; all of it answers when this resolves. */
export async function startCluster(size = 3): Promise<RedisCluster> {
  const nodes: RedisProcess[] = [];
  const stop = async () => void (await Promise.all(nodes.map((node) => node.stop())));
  try {
    const busPorts: number[] = [];
    for (let index = 0; index < size; index++) {
      // By default the bus has the port 10,000 above, which for a port that the system hands out may not exist.
      const busPort = await findFreePort();
      busPorts.push(busPort);
      nodes.push(await startRedis({ args: ['--cluster-enabled', 'yes', '--cluster-port', String(busPort)] }));
    }
    await join(nodes, busPorts);
    return { url: `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join()}`, nodes, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function join(nodes: readonly RedisProcess[], busPorts: readonly number[]): Promise<void> {
  const clients = nodes.map(({ url }) => new Redis(url));
  try {
    const share = Math.ceil(slots / nodes.length);
    for (const [index, client] of clients.entries()) {
      const last = Math.min((index + 1) * share, slots) - 1;
      await client.call('CLUSTER', 'ADDSLOTSRANGE', index * share, last);
      if (index > 0) await client.call('CLUSTER', 'MEET', '127.0.0.1', nodes[0]?.port ?? 0, busPorts[0] ?? 0);
    }
    for (const client of clients) {
      const isWhole = async () => {
        const info = String(await client.call('CLUSTER', 'INFO'));
        return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${nodes.length}`);
      };
      await eventually(isWhole, 30_000);
    }
  } finally {
    for (const client of clients) client.disconnect();
  }
}
