import { setTimeout as wait } from 'node:timers/promises';
import { Cluster } from 'ioredis';
import type { RedisClient } from './connection.js';
import type { Broker } from './queues.js';

/** What BullMQ tells of a run: `waiting`, `active`, `progress`, `completed`, `failed`, `delayed`, `removed`, and others. */
export interface RunEvent {
  readonly type: string;
  readonly run: string;
  /** With `progress` what the handler gave, with `completed` the result, both as JSON; with `failed` the reason. */
  readonly data?: string;
}

export interface RunEventsInput {
  onEvent(event: RunEvent): void;
  /** Redis does not answer; told again and again while that lasts. */
  onAway(error: unknown): void;
}

/**
 * Follows what happens to the runs of a job, over a connection of its own. After an interruption it goes on from where
 * it was; of thousands of events in between the oldest may be missing.
 */
export function followRuns(broker: Broker, job: string, { onEvent, onAway }: RunEventsInput) {
  const key = broker.queue(job).toKey('events');
  let client: RedisClient | null = null;
  let last: string | null = null;
  let closed = false;
  let tellReady = () => {};
  const ready = new Promise<void>((resolve) => {
    tellReady = resolve;
  });
  void follow();

  async function follow(): Promise<void> {
    while (!closed) {
      try {
        client ??= openBeside(broker.client);
        await step(client);
      } catch (error) {
        if (closed) return;
        // Whatever it waits for, another connection knows sooner that Redis is back.
        client?.disconnect();
        client = null;
        onAway(error);
        await wait(againMs, undefined, { ref: false });
      }
    }
  }

  async function step(connection: RedisClient): Promise<void> {
    if (last === null) {
      // From here on nothing is missed, as it would be between a "$" and its arrival.
      const [newest] = await inTime(connection.xrevrange(key, '+', '-', 'COUNT', 1));
      last = newest?.[0] ?? '0-0';
      tellReady();
    }
    const read = connection.xread('COUNT', batchSize, 'BLOCK', blockMs, 'STREAMS', key, last);
    for (const [, entries] of (await inTime(read)) ?? []) {
      for (const [id, fields] of entries) {
        last = id;
        tell(fields);
      }
    }
  }

  function tell(fields: readonly string[]): void {
    const { event: type = '', jobId: run, ...rest } = Object.fromEntries(pairs(fields));
    const data = rest.data ?? rest.returnvalue ?? rest.failedReason;
    if (run !== undefined && !closed) onEvent({ type, run, ...(data !== undefined && { data }) });
  }

  return {
    /** Resolves once everything that happens from then on is told. */
    ready,
    close(): void {
      closed = true;
      client?.disconnect();
    },
  };
}

const batchSize = 1_000;
/** A frozen Redis closes no connection: the short wait is also how its silence is noticed. */
const blockMs = 300;
const silentMs = 1_000;
const againMs = 250;

/** Like the one that is there, and on its own: whoever waits on it holds up nobody else. */
function openBeside(client: RedisClient): RedisClient {
  const options = { maxRetriesPerRequest: 0, enableOfflineQueue: true, commandTimeout: 5_000 };
  const beside =
    client instanceof Cluster ? client.duplicate([], { redisOptions: options }) : client.duplicate(options);
  beside.on('error', () => {}); // the command that waits says so as well
  return beside;
}

function inTime<Answer>(work: Promise<Answer>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`no answer within ${blockMs + silentMs} ms`));
    const timer = setTimeout(late, blockMs + silentMs);
    work.finally(() => clearTimeout(timer)).then(resolve, reject);
  });
}

function pairs(fields: readonly string[]): [string, string][] {
  return Array.from({ length: fields.length / 2 }, (_, index) => [
    fields[2 * index] ?? '',
    fields[2 * index + 1] ?? '',
  ]);
}
