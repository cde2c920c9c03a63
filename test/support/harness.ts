import { randomBytes } from 'node:crypto';
import { inject, onTestFinished } from 'vitest';
import { type Broker, openBroker } from '../../src/broker/queues.js';
import type { ApiKey, Config } from '../../src/config.js';
import { loadConfig } from '../../src/config.js';
import { createApiServer } from '../../src/http/server.js';
import type { JobDefinition } from '../../src/jobs/define-job.js';
import type { Emit, RondoEvent } from '../../src/jobs/events.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { createMetrics } from '../../src/observability/metrics.js';
import { createChildren } from '../../src/producers/children.js';
import { createFigures } from '../../src/producers/figures.js';
import { createSupervisor } from '../../src/producers/supervisor.js';
import { createPool } from '../../src/workers/pool.js';
import { type Api, callsTo, keyPerScope } from './http.js';

type EventOf<Type extends RondoEvent['type']> = Extract<RondoEvent, { type: Type }>;

/** Keeps what was told, and waits for what is to be told: with a bound, never for a fixed time. */
export interface Events {
  readonly all: readonly RondoEvent[];
  readonly emit: Emit;
  of<Type extends RondoEvent['type']>(type: Type): EventOf<Type>[];
  /** The first event of a type that matches, whether told already or still to come. */
  next<Type extends RondoEvent['type']>(
    type: Type,
    matches?: (event: EventOf<Type>) => boolean,
    timeoutMs?: number,
  ): Promise<EventOf<Type>>;
}

export function recordEvents(): Events {
  const all: RondoEvent[] = [];
  const listeners = new Set<() => void>();
  return {
    all,
    emit(event) {
      all.push(event);
      for (const listener of listeners) listener();
    },
    of: (type) => all.filter((event) => event.type === type) as never,
    next(type, matches = () => true, timeoutMs = 30_000) {
      const find = () => all.find((event) => event.type === type && matches(event as never)) as never;
      return new Promise((resolve, reject) => {
        const settle = () => {
          const found = find();
          if (!found) return;
          clearTimeout(timer);
          listeners.delete(settle);
          resolve(found);
        };
        const timer = setTimeout(() => {
          listeners.delete(settle);
          const told = all.map((event) => event.type).join(', ');
          reject(new Error(`no ${type} such as was waited for within ${timeoutMs} ms; told: ${told}`));
        }, timeoutMs);
        listeners.add(settle);
        settle();
      });
    },
  };
}

/** Asks again and again until the answer is truthy, within a bound. */
export async function eventually<Answer>(
  ask: () => Promise<Answer> | Answer,
  timeoutMs = 30_000,
): Promise<NonNullable<Exclude<Answer, false>>> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer) return answer as NonNullable<Exclude<Answer, false>>;
    if (Date.now() > deadline) throw new Error(`still ${String(answer)} after ${timeoutMs} ms: ${ask}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A prefix that no other test has; its keys are removed when the test is over. */
export function freshPrefix(): string {
  return `test-${randomBytes(6).toString('hex')}`;
}

export interface WorkOptions {
  readonly jobs?: readonly JobDefinition[];
  readonly random?: () => number;
  readonly lockMs?: number;
  readonly stalledCheckMs?: number;
  readonly now?: () => number;
  /** Addresses of dead man's switches; nothing that is not public unless told. */
  readonly healthcheckAllow?: readonly string[];
}

export interface ServeOptions extends Partial<Pick<Config['http'], 'rateLimit' | 'trustProxy' | 'corsOrigins'>> {
  /** Those of the fixture, unless told. */
  readonly jobs?: readonly JobDefinition[];
  /** 1, unless told. */
  readonly release?: string;
  /** What is odd about its settings: nothing, unless told. */
  readonly warnings?: readonly string[];
  /** Any that is free, unless told. */
  readonly port?: number;
  readonly keys?: readonly ApiKey[];
  /** In place of them, keys that change. */
  readonly liveKeys?: () => readonly ApiKey[];
  readonly now?: () => number;
}

export interface Fixture {
  readonly broker: Broker;
  readonly events: Events;
  readonly prefix: string;
  /** Starts a worker for the jobs, or for those it is told; stopped when the test is over. */
  work(options?: WorkOptions): Promise<ReturnType<typeof createPool>>;
  /** Starts a producer for them; stopped when the test is over. */
  produce(options?: {
    app?: string;
    release?: string;
    jobs?: readonly JobDefinition[];
    now?: () => number;
    healthcheckUrl?: string;
  }): Promise<ReturnType<typeof createSupervisor>>;
  /** Starts the API, on a free port and with a key for each scope unless told; stopped when the test is over. */
  serve(options?: ServeOptions): Promise<Api>;
}

/**
 * The parts of the service, wired by hand to the tests' server under a prefix of their own.
 *
 * @param options.url a server of the test's own, as `REDIS_URL` would name it
 * @param options.prefix that of another fixture, which removes the keys
 */
export async function fixture(
  jobs: readonly JobDefinition[],
  options: { url?: string; prefix?: string } = {},
): Promise<Fixture> {
  const { redis } = loadConfig({ REDIS_URL: options.url ?? inject('redisUrl') });
  if (redis.kind === 'embedded') throw new Error('a fixture wants the address of a server');
  const prefix = options.prefix ?? freshPrefix();
  const events = recordEvents();
  const open = async (profile: 'patient' | 'fail-fast', known: readonly JobDefinition[]) => {
    const registry = createRegistry(known);
    const ruleOf = (id: string) => registry.findSchedule(id)?.schedule.next;
    const broker = await openBroker({ redis, profile, prefix, ruleOf, jobOf: registry.find, emit: events.emit });
    onTestFinished(() => broker.close());
    return { broker, registry };
  };
  const { broker } = await open('fail-fast', jobs);
  if (!options.url && !options.prefix) onTestFinished(() => removeKeys(broker, prefix));
  return {
    broker,
    events,
    prefix,
    async work({ jobs: known = jobs, random = Math.random, now = Date.now, ...hooks } = {}) {
      const own = await open('patient', known);
      const others = jobs.filter(({ name }) => known.every((job) => job.name !== name));
      const registry = createRegistry([...known, ...others]);
      const enqueueBy = createChildren({ broker: own.broker, registry, now });
      const pool = createPool({ broker: own.broker, jobs: known, emit: events.emit, now, random, enqueueBy, ...hooks });
      await pool.start();
      onTestFinished(() => pool.stop(Date.now()));
      return pool;
    },
    async produce({ app = 'test', release = '1', jobs: declared = jobs, now = Date.now, ...more } = {}) {
      const own = await open('fail-fast', declared);
      const supervisor = createSupervisor({ ...own, app, release, emit: events.emit, now, ...more });
      await supervisor.start();
      onTestFinished(() => supervisor.stop(Date.now() + 1_000));
      return supervisor;
    },
    async serve({ keys = keyPerScope, liveKeys = () => keys, now = Date.now, port = 0, ...rest } = {}) {
      const { jobs: declared = jobs, release = '1', warnings = [], ...given } = rest;
      const own = await open('fail-fast', declared);
      const settings = { rateLimit: null, trustProxy: false, corsOrigins: [], ...given } as const;
      const deployment = { app: 'test', release };
      const metrics = metricsOf(own.broker, declared);
      const asked = { keys: liveKeys, settings, warnings, emit: events.emit, now, metrics: metrics.read };
      const input = { ...own, deployment, ...asked };
      const server = createApiServer({ ...input, host: '127.0.0.1', port });
      await server.start();
      onTestFinished(() => server.stop(Date.now()));
      return callsTo(server.address(), () => server.stop(Date.now()));
    },
  };
}

/** Those of an api, of which each answer is read anew. */
function metricsOf(broker: Broker, jobs: readonly JobDefinition[]) {
  const metrics = createMetrics({ app: 'test', release: '1', process: false });
  let elapsed = 0;
  const tick = () => {
    elapsed += 3_600_000;
    return elapsed;
  };
  const names = jobs.map(({ name }) => name);
  metrics.addStore(createFigures({ broker, app: 'test', jobs: names, now: Date.now, elapsed: tick }));
  return metrics;
}

async function removeKeys({ client }: Broker, prefix: string): Promise<void> {
  const keys = await client.keys(`{${prefix}*`);
  for (let first = 0; first < keys.length; first += 500) await client.del(...keys.slice(first, first + 500));
}
