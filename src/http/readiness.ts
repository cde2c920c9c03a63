import type { Broker } from '../broker/queues.js';
import { withinMs } from './within.js';

/** A part of this process, and whether something is wrong with it. */
export interface Part {
  readonly name: string;
  /** Resolves to what is wrong, or null. */
  trouble(): Promise<string | null>;
}

/** How a part is. `since` is ISO: when that was first seen, or the start of the process. */
export interface PartState {
  readonly status: 'ready' | 'unready';
  readonly since: string;
  readonly reason?: string;
  /** Of Redis: where it is, without credentials, and how long it took to answer, in ms. */
  readonly address?: string;
  readonly answeredInMs?: number;
}

export interface Readiness {
  readonly status: PartState['status'];
  readonly parts: Readonly<Record<string, PartState>>;
}

/**
 * Whether requests can be served, which is whether Redis answers, and how the parts of this process are that stand
 * beside the API.
 *
 * @param now in ms since the epoch
 */
export function createReadiness(broker: Broker, others: readonly Part[], now: () => number) {
  const redis = { name: 'redis', trouble: () => redisTrouble(broker) };
  const sinceOf = rememberChanges(now);
  // Seen when it happens, not only when somebody asks.
  broker.client.on('close', () => sinceOf('redis', false));
  broker.client.on('ready', () => sinceOf('redis', true));

  async function look({ name, trouble }: Part): Promise<PartState> {
    const reason = await withinMs(answerMs, trouble()).catch((error: Error) => error.message);
    const since = sinceOf(name, reason === null);
    return reason === null ? { status: 'ready', since } : { status: 'unready', since, reason };
  }

  return async function readiness(): Promise<Readiness> {
    const askedAt = performance.now();
    const own = look(redis).then((state): PartState => {
      const answered = state.status === 'ready' && { answeredInMs: Math.round(performance.now() - askedAt) };
      return { ...state, address: broker.address, ...answered };
    });
    const [found, ...beside] = await Promise.all([own, ...others.map(look)]);
    const parts = Object.fromEntries(others.map(({ name }, index) => [name, beside[index] as PartState]));
    return { status: found.status, parts: { redis: found, ...parts } };
  };
}

/** No part may think for longer, in ms: probes wait for the answer. */
const answerMs = 1_000;

/** When each part became as it is, as ISO. */
function rememberChanges(now: () => number) {
  const states = new Map<string, { readonly well: boolean; readonly since: string }>();
  const start = new Date(now()).toISOString();
  return (name: string, well: boolean): string => {
    const known = states.get(name);
    if (known?.well === well) return known.since;
    const since = known || !well ? new Date(now()).toISOString() : start;
    states.set(name, { well, since });
    return since;
  };
}

/** What Redis answers is told; the words of its client are about sockets and queues of commands. */
async function redisTrouble({ client }: Broker): Promise<string | null> {
  if (client.status !== 'ready') return away;
  return client.ping().then(
    () => null,
    (error: Error) => (client.status === 'ready' ? error.message : away),
  );
}

const away = 'no connection to it';
