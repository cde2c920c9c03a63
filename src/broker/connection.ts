import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { RedisSettings } from '../config.js';
import { RondoError } from '../errors.js';
import type { Emit } from '../jobs/events.js';
import { gatherCommands } from './gather.js';

export type RedisClient = Redis | Cluster;

/**
 * How a connection behaves while Redis is away. `fail-fast`, for whoever answers somebody: a command fails at
 * once, or after its deadline. `patient`, for workers: commands wait, and work goes on when Redis is back.
 */
export type Profile = 'fail-fast' | 'patient';

export type ReachableRedis = Exclude<RedisSettings, { kind: 'embedded' }>;

/**
 * Connects, or says within about three seconds why that cannot be.
 *
 * @throws RondoError `redis-unreachable`, naming the setting
 */
export async function connect(settings: ReachableRedis, profile: Profile, emit: Emit): Promise<RedisClient> {
  const client = open(settings, profile);
  gatherCommands(client, together[profile]);
  let lastError: Error | null = null;
  const remember = (error: Error) => {
    lastError = error;
  };
  client.on('error', remember);
  try {
    await ready(client);
  } catch (error) {
    client.disconnect();
    throw unreachable(settings.shown, lastError ?? (error as Error));
  }
  client.off('error', remember);
  watch(client, settings.shown, emit);
  return client;
}

/** Ends a connection: politely where Redis answers, at once where it does not. */
export async function disconnect(client: RedisClient): Promise<void> {
  leaving.add(client);
  if (client.status === 'ready') await Promise.race([client.quit().catch(() => {}), wait(1_000)]);
  client.disconnect();
}

export const isCluster = (client: RedisClient): boolean => client instanceof Cluster;

/** The servers that take writes: of a cluster each that has a part of the keys. */
export function mastersOf(client: RedisClient): Redis[] {
  return client instanceof Cluster ? client.nodes('master') : [client];
}

/** Connections that we end ourselves: their going is no news. */
const leaving = new WeakSet<RedisClient>();

const connectTimeoutMs = 3_000;
const commandTimeoutMs = 10_000;
/**
 * How long a worker waits for an answer before it connects anew. Where the other side is gone without a word the kernel
 * would wait for a quarter of an hour. Longer than any command of ours blocks; a process that stood still for so long has
 * lost its runs' locks as well.
 */
const silenceMs = 30_000;

const profiles: Record<Profile, RedisOptions> = {
  'fail-fast': { maxRetriesPerRequest: 0, enableOfflineQueue: false, commandTimeout: commandTimeoutMs },
  patient: { maxRetriesPerRequest: null, socketTimeout: silenceMs },
};

/** How many commands go out in one write. A worker has few at hand and waits for their answers; an api has many, of many callers. */
const together: Record<Profile, number> = { 'fail-fast': 32, patient: 8 };

function open(settings: ReachableRedis, profile: Profile): RedisClient {
  const retryStrategy = (times: number) => Math.min(50 * 2 ** Math.min(times, 6), 2_000);
  const options: RedisOptions = {
    ...profiles[profile],
    connectTimeout: connectTimeoutMs,
    retryStrategy,
    reconnectOnError: () => false,
  };
  if (settings.kind === 'single') return new Redis(settings.url, options);
  const { username, password } = settings;
  if (settings.kind === 'sentinel') {
    return new Redis({
      ...options,
      sentinels: [...settings.nodes],
      name: settings.name,
      ...(username && { username }),
      ...(password && { password }),
      sentinelRetryStrategy: retryStrategy,
      failoverDetector: true,
    });
  }
  return new Cluster([...settings.nodes], {
    redisOptions: { ...options, username, password },
    enableOfflineQueue: true,
    clusterRetryStrategy: retryStrategy,
    slotsRefreshTimeout: connectTimeoutMs,
  });
}

/** A server that refuses the password, the database or TLS will not change its mind: only absence is waited for. */
async function ready(client: RedisClient): Promise<void> {
  if (client.status === 'ready') return;
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${connectTimeoutMs} ms`)), connectTimeoutMs);
    const settle = (error?: Error) => {
      clearTimeout(timer);
      client.off('ready', onReady);
      client.off('error', onError);
      if (error) reject(error);
      else resolve();
    };
    const onReady = () => settle();
    const onError = (error: Error) => {
      if (!isAbsence(error)) settle(error);
    };
    client.on('ready', onReady);
    client.on('error', onError);
  });
}

function isAbsence(error: Error): boolean {
  const { code = '' } = error as { code?: string };
  return (
    ['ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN', 'EPIPE'].includes(code) ||
    /LOADING|sentinels are unreachable/.test(error.message)
  );
}

function unreachable(shown: string, cause: Error): RondoError {
  const { code } = cause as { code?: string };
  return new RondoError('redis-unreachable', `REDIS_URL is ${shown}: ${cause.message || code || 'no connection'}`, {
    cause,
  });
}

/** ioredis tells every failed attempt; people want to know when Redis went and when it came back. */
function watch(client: RedisClient, address: string, emit: Emit): void {
  let awaySince: number | null = null;
  let lastReason = 'the connection closed';
  client.on('error', (error: Error) => {
    lastReason = error.message || (error as { code?: string }).code || lastReason;
  });
  client.on('close', () => {
    if (awaySince !== null || leaving.has(client)) return;
    awaySince = Date.now();
    emit({ type: 'redis.away', address, reason: lastReason });
  });
  client.on('ready', () => {
    if (awaySince === null) return;
    emit({ type: 'redis.back', address, awayMs: Date.now() - awaySince });
    awaySince = null;
  });
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
