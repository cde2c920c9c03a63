import { RondoError } from '../errors.js';
import type { MemoryStore } from '../jobs/memory.js';
import { ledgerKeys } from './ledger-format.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';

export interface RememberingRun {
  readonly job: string;
  readonly id: string;
  /** In ms since the epoch: after a queue was emptied its numbers come again as ids, not at the same time. */
  readonly enqueuedAt: number;
  /** BullMQ's proof that the run is ours. */
  readonly token: string;
  /** For how long it is kept after it was used last, in ms. */
  readonly keptMs: number;
}

/** What a run remembers: a hash beside the run, which expires, and which whoever lost the run writes no more. */
export function memoryStore(broker: Broker, run: RememberingRun): MemoryStore {
  const key = memoryKey(broker, run);
  const lock = `${ledgerKeys(broker, { job: run.job, schedule: '' }).run(run.id)}:lock`;
  return {
    async read(field) {
      const found = await readScript(broker.client, [key], [field, run.keptMs]);
      const [text, fields] = found as [string | null, number];
      return { text, fields };
    },
    async write(field, text) {
      const written = await writeScript(broker.client, [key, lock], [run.token, field, text, run.keptMs]);
      if (written !== 1) throw new RondoError('run-lock-lost', `${run.job} ${run.id}`);
    },
  };
}

/** Once a run has succeeded nobody asks again. */
export async function forgetMemory(broker: Broker, run: Omit<RememberingRun, 'token' | 'keptMs'>): Promise<void> {
  await broker.client.unlink(memoryKey(broker, run));
}

function memoryKey({ keys }: Broker, { job, id, enqueuedAt }: Omit<RememberingRun, 'token' | 'keptMs'>): string {
  return `${keys.queuePrefix(job)}:memory:${id}:${enqueuedAt}`;
}

const readScript = createScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then return { false, 0 } end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { redis.call('HGET', KEYS[1], ARGV[1]), redis.call('HLEN', KEYS[1]) }`);

const writeScript = createScript(`
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1`);
