import { type JobsOptions, Queue, type RepeatStrategy } from 'bullmq';
import { RondoError } from '../errors.js';
import type { JobDefinition, Schedule } from '../jobs/define-job.js';
import type { Emit } from '../jobs/events.js';
import type { Overlap } from '../jobs/overlap.js';
import type { NextTick } from '../jobs/schedule.js';
import { connect, disconnect, type Profile, type ReachableRedis, type RedisClient } from './connection.js';
import { createRepeatStrategy } from './repeat.js';
import { createScript } from './scripts.js';
import type { RunTracing } from './tracing.js';

/** What of Redis a process uses: one connection, the keys under one prefix, a queue per job. */
export interface Broker {
  readonly client: RedisClient;
  /** Where Redis is, without credentials. */
  readonly address: string;
  readonly keys: Keys;
  readonly repeatStrategy: RepeatStrategy;
  /** The rule of a schedule whose times are computed by code, where this process knows it. */
  readonly ruleOf: (schedule: string) => NextTick | undefined;
  /** What this process knows of a job, by its name. */
  readonly jobOf: (job: string) => JobDefinition | undefined;
  /** Null where nothing is traced. */
  readonly tracing: RunTracing | null;
  queue(job: string): Queue;
  /** Closes the queues and the connection. */
  close(): Promise<void>;
}

/** What belongs to one job shares the job's hash slot; what is about the whole has a slot of its own. */
export interface Keys {
  /** Under which all of them are. */
  readonly prefix: string;
  /** The prefix that BullMQ puts before a queue's name and keys. */
  queuePrefix(job: string): string;
  /** Hash: schedule id to what is wanted of it. */
  readonly schedules: string;
  /** One lead for each app: teams that share a store keep their own schedules in line. */
  producerLease(app: string): string;
  /** Hash: app and release to when processes of it were first and last seen. */
  readonly releases: string;
  /** Sorted set: ids of the processes that are alive, by when they last said so; each has a report that expires. */
  readonly processes: string;
  process(id: string): string;
  /** Hash: app and job to the last release that declared it. */
  readonly jobs: string;
  /** Hash: schedules with a backfill that somebody has to look after, each to its job. */
  readonly backfills: string;
  /** Hash: what was asked for under a caller's key, and the answer to it. */
  idempotency(digest: string): string;
  readonly storeVersion: string;
  /** Begins the counters of requests and of failed sign-ins, which expire. */
  readonly limits: string;
  /** Streams of what was changed, and of sign-ins that failed. */
  readonly audit: { readonly changes: string; readonly refusals: string };
  /** Hashes: what is known of each alert, and what is to be sent of them. */
  readonly alerts: { readonly states: string; readonly outbox: string };
  /** What the sessions of browsers are signed with, beside their key. */
  readonly sessionSecret: string;
}

/** Raised when the layout of our own keys changes in a way that an older program would misread. */
const storeVersion = 1;

export interface BrokerInput {
  readonly redis: ReachableRedis;
  readonly profile: Profile;
  readonly prefix: string;
  /** The rule of a schedule whose times are computed by code, where this process knows it. */
  readonly ruleOf: (schedule: string) => NextTick | undefined;
  /** What this process knows of a job, by its name. */
  readonly jobOf: (job: string) => JobDefinition | undefined;
  readonly emit: Emit;
  /** Nothing is traced without it. */
  readonly tracing?: RunTracing | null;
  /** Whether it marks the store as one in use; a command does not, since its prefix may be misspelt. */
  readonly marks?: boolean;
}

/**
 * Connects, and marks the store with our version.
 *
 * @throws RondoError `redis-unreachable`, or `store-newer` where a newer release has marked it
 */
export async function openBroker(input: BrokerInput): Promise<Broker> {
  const { redis, profile, prefix, ruleOf, jobOf, emit, tracing = null, marks = true } = input;
  const client = await connect(redis, profile, emit);
  const parts = { client, address: redis.shown, keys: keysUnder(prefix), ruleOf, jobOf, tracing };
  const broker = createBroker({ ...parts, repeatStrategy: createRepeatStrategy(ruleOf, emit) });
  try {
    await claimStore(broker, marks);
  } catch (error) {
    await broker.close();
    throw error;
  }
  return broker;
}

function createBroker(parts: Omit<Broker, 'queue' | 'close'>): Broker {
  const { client, keys, repeatStrategy, tracing } = parts;
  const telemetry = tracing && { telemetry: tracing.queues };
  const queues = new Map<string, Queue>();
  return {
    ...parts,
    queue(job) {
      const known = queues.get(job);
      if (known) return known;
      const prefix = keys.queuePrefix(job);
      const queue = new Queue(job, { connection: client, prefix, settings: { repeatStrategy }, ...telemetry });
      // Every failure also rejects the call that met it, and the connection reports its own.
      queue.on('error', () => {});
      queues.set(job, queue);
      // One whose first command fails would fail for ever: the next who asks gets another.
      queue.waitUntilReady().catch(() => queues.delete(job));
      return queue;
    },
    async close() {
      await Promise.all([...queues.values()].map((queue) => queue.close().catch(() => {})));
      await disconnect(client);
    },
  };
}

async function claimStore({ client, keys }: Broker, marks: boolean): Promise<void> {
  if (marks) await client.setnx(keys.storeVersion, storeVersion);
  const found = Number(await client.get(keys.storeVersion));
  if (found > storeVersion) {
    throw new RondoError('store-newer', `${keys.storeVersion} is ${found}, this release understands ${storeVersion}`);
  }
}

/** What BullMQ keeps of a run for us, beside its own options. Durations in ms. */
export interface RunOptions extends JobsOptions {
  /** The version of its payload; 1 is left out. */
  readonly version?: number;
  /** Paths of its payload that nobody but the handler is shown: whoever reads the run knows, without its job's code. */
  readonly secret?: readonly string[];
  /** It is not started later than this after it was due. */
  readonly expiresIn?: number;
  /** The same for a tick. */
  readonly lateAfter?: number;
  /** A tick's dead man's switch. */
  readonly healthcheck?: string;
  /** What becomes of it while another run of its schedule has not ended; `allow` where nothing is said. */
  readonly overlap?: Exclude<Overlap, 'allow'>;
}

/** The one translation from a definition to BullMQ's options. `backoff` only names our strategy: workers compute the delay. */
export function runOptions(job: JobDefinition): RunOptions {
  return {
    ...(job.version > 1 && { version: job.version }),
    ...(job.secret.length > 0 && { secret: job.secret }),
    attempts: job.retry.attempts,
    backoff: { type: 'rondo' },
    ...(job.priority !== null && { priority: job.priority }),
    removeOnComplete: kept(job.retention.completed),
    removeOnFail: kept(job.retention.failed),
    keepLogs: 1_000,
  };
}

/** What every run of a schedule gets: the job's options, the same object where the schedule adds none. */
export function tickOptions(options: RunOptions, { overlap, lateAfter, healthcheck }: TickPolicies): RunOptions {
  if (overlap === 'allow' && lateAfter === null && healthcheck === null) return options;
  return {
    ...options,
    ...(overlap !== 'allow' && { overlap }),
    ...(lateAfter !== null && { lateAfter }),
    ...(healthcheck !== null && { healthcheck }),
  };
}

type TickPolicies = Pick<Schedule, 'overlap' | 'lateAfter' | 'healthcheck'>;

/** The version of the payload that a run carries. */
export function versionOf({ opts }: { readonly opts: JobsOptions }): number {
  return (opts as RunOptions).version ?? 1;
}

/** The paths of the payload that a run says are secret. */
export function secretOf({ opts }: { readonly opts: JobsOptions }): readonly string[] {
  const { secret } = opts as RunOptions;
  return Array.isArray(secret) ? secret.filter((path) => typeof path === 'string') : [];
}

/**
 * What is written on a run beside its attempts: how often it was lost with its worker, which BullMQ never forgets, and
 * that somebody wanted it cancelled. Forgotten when it has ended, so that a retry, on the board perhaps, begins anew.
 */
export async function forgetPast({ client, queue }: Broker, job: string, id: string): Promise<void> {
  await client.hdel(queue(job).toKey(id), 'stc', 'defa', 'cancel');
}

/**
 * Notes on a run that its handler has begun, where BullMQ is to count its attempts from nothing: whatever bars late
 * starts, or a second run of its schedule, is not for one that did start.
 */
export async function noteBegun({ client, queue }: Broker, job: string, id: string): Promise<void> {
  await noteScript(client, [queue(job).toKey(id)], []);
}

export async function hasBegun({ client, queue }: Broker, job: string, id: string): Promise<boolean> {
  return (await client.hexists(queue(job).toKey(id), 'begun')) === 1;
}

const noteScript = createScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'begun', '1') end`);

function keysUnder(prefix: string): Keys {
  const whole = `{${prefix}}`;
  return {
    prefix,
    queuePrefix: (job) => `{${prefix}:${job}}`,
    schedules: `${whole}:schedules`,
    producerLease: (app) => `${whole}:lease:producer:${app}`,
    releases: `${whole}:releases`,
    processes: `${whole}:processes`,
    process: (id) => `${whole}:process:${id}`,
    jobs: `${whole}:jobs`,
    backfills: `${whole}:backfills`,
    idempotency: (digest) => `${whole}:idempotency:${digest}`,
    storeVersion: `${whole}:version`,
    limits: `${whole}:limits:`,
    audit: { changes: `${whole}:audit`, refusals: `${whole}:audit:refusals` },
    alerts: { states: `${whole}:alerts`, outbox: `${whole}:alerts:outbox` },
    sessionSecret: `${whole}:session-secret`,
  };
}

function kept({ age, count }: { age: number; count: number }) {
  return { age: Math.ceil(age / 1_000), count };
}
