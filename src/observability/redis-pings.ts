import type { Service } from '../lifecycle.js';
import { type Buckets, createBuckets, type Family } from './families.js';

/** How often Redis is asked, in ms. */
const everyMs = 5_000;
/** Upper ends of buckets, in seconds. */
const bounds = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

export interface Pinged {
  readonly status: string;
  ping(): Promise<unknown>;
}

interface Connection {
  readonly role: string;
  readonly client: Pinged;
  readonly took: Buckets;
  answers: boolean;
  waiting: boolean;
}

/** Asks Redis every few seconds, on the connection of each role, how long it takes to answer. */
export function createPings(elapsed: () => number = () => performance.now()) {
  const connections: Connection[] = [];
  let timer: NodeJS.Timeout | undefined;

  async function ask(connection: Connection): Promise<void> {
    const { client, took } = connection;
    // One that has not answered yet is not joined by a second; nor does one that waits for Redis to come back say much.
    const silent = client.status !== 'ready' || connection.waiting;
    connection.answers = !silent;
    if (silent) return;
    connection.waiting = true;
    const askedAt = elapsed();
    connection.answers = await client.ping().then(
      () => true,
      () => false,
    );
    connection.waiting = false;
    if (connection.answers) took.add((elapsed() - askedAt) / 1_000);
  }

  const askAll = () => connections.forEach((connection) => void ask(connection));

  return {
    name: 'redis pings',
    askAll,
    watch(role: string, client: Pinged): void {
      const connection = { role, client, took: createBuckets(bounds), answers: true, waiting: false };
      connections.push(connection);
      void ask(connection);
    },
    async start() {
      timer = setInterval(askAll, everyMs).unref();
    },
    async stop() {
      clearInterval(timer);
    },
    families: (): Family[] => [
      {
        name: 'rondo_redis_up',
        help: 'Whether Redis answered a role of this process when it last asked: 1 where it did',
        type: 'gauge',
        read: () =>
          connections.map(({ role, answers, client }) => ({
            labels: { role },
            value: Number(answers && client.status === 'ready'),
          })),
      },
      {
        name: 'rondo_redis_ping_seconds',
        help: 'How long Redis took to answer a PING of a role of this process',
        type: 'histogram',
        read: () => connections.flatMap(({ role, took }) => took.samples({ role })),
      },
    ],
  } satisfies Service & Record<string, unknown>;
}
