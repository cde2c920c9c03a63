import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
    await meet(nodes, busPorts);
    return { url: `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join()}`, nodes, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

export interface RedisSentinels {
  readonly url: string;
  readonly master: RedisProcess;
  readonly replica: RedisProcess;
  stop(): Promise<void>;
}

/** A master, its replica, and three Sentinels that make the replica the master a second after the first is gone. */
export async function startSentinels(): Promise<RedisSentinels> {
  const processes: RedisProcess[] = [];
  const start = async (args: string[]) => {
    const started = await startRedis({ args });
    processes.push(started);
    return started;
  };
  const stop = async () => void (await Promise.all(processes.map((it) => it.stop())));
  try {
    const master = await start([]);
    const replica = await start(['--replicaof', '127.0.0.1', String(master.port)]);
    const sentinels = await Promise.all([1, 2, 3].map(() => startSentinel(master.port)));
    processes.push(...sentinels);
    const copy = new Redis(replica.url);
    const isCopy = async () => (await copy.info('replication')).includes('master_link_status:up');
    await eventually(isCopy, 30_000).finally(() => copy.disconnect());
    const client = new Redis(sentinels[0]?.url ?? '');
    await eventually(async () => {
      const known = String(await client.call('SENTINEL', 'MASTER', 'main'));
      return known.includes('num-slaves,1') && known.includes('num-other-sentinels,2');
    }, 30_000).finally(() => client.disconnect());
    return {
      url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join()}/main`,
      master,
      replica,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A Sentinel writes what it learns into its file, and starts with no settings but those in it. */
async function startSentinel(masterPort: number): Promise<RedisProcess> {
  const dir = mkdtempSync(join(tmpdir(), 'rondo-sentinel-'));
  const file = join(dir, 'sentinel.conf');
  const settings = [
    `sentinel monitor main 127.0.0.1 ${masterPort} 2`,
    'sentinel down-after-milliseconds main 1000',
    'sentinel failover-timeout main 5000',
  ];
  writeFileSync(file, `${settings.join('\n')}\n`);
  return startRedis({ args: ['--sentinel'], file, dir });
}

async function meet(nodes: readonly RedisProcess[], busPorts: readonly number[]): Promise<void> {
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
