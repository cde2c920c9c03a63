import type { Broker } from '../broker/queues.js';
import { chunks } from './chunks.js';
import type { Chain } from './plan.js';

/**
 * Where BullMQ's chain of each schedule stands: its next time, and what has become of the iteration that
 * carries it. Looks only: BullMQ's own listing of schedulers drops what it finds incomplete.
 *
 * @param byJob schedule ids, by job
 */
export async function readChains(
  broker: Broker,
  byJob: ReadonlyMap<string, readonly string[]>,
): Promise<Map<string, Chain>> {
  const chains = new Map<string, Chain>();
  const reads = [...byJob].flatMap(([job, ids]) =>
    chunks(ids, 1_000).map((batch) => readBatch(broker, job, batch, chains)),
  );
  await Promise.all(reads);
  return chains;
}

async function readBatch(broker: Broker, job: string, ids: readonly string[], into: Map<string, Chain>): Promise<void> {
  const base = `${broker.keys.queuePrefix(job)}:${job}:`;
  const keys = ['repeat', 'delayed', 'wait', 'prioritized', 'active'].map((name) => base + name);
  const answer = (await broker.client.eval(readChainsLua, keys.length, ...keys, base, ...ids)) as (string | 0)[];
  ids.forEach((id, index) => {
    const next = answer[2 * index];
    const iteration = answer[2 * index + 1] as Chain['iteration'];
    into.set(id, { next: next ? Number(next) : null, iteration });
  });
}

// Asked in one call, so that a worker that moves the chain on meanwhile does not make it look broken. The next
// time is handed on as text: on the 32-bit embedded server a formatted number would be cut off.
const readChainsLua = `
local base = ARGV[1]
local answer = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local score = redis.call('ZSCORE', KEYS[1], id)
  local iteration = 'gone'
  if score and redis.call('EXISTS', base .. 'repeat:' .. id) == 1 then
    local run = 'repeat:' .. id .. ':' .. score
    if redis.call('EXISTS', base .. run) == 1 then
      if redis.call('ZSCORE', KEYS[2], run) then iteration = 'delayed'
      elseif redis.call('HEXISTS', base .. run, 'finishedOn') == 1 then iteration = 'finished'
      elseif redis.call('ZSCORE', KEYS[4], run) or redis.call('LPOS', KEYS[3], run) then iteration = 'queued'
      elseif redis.call('LPOS', KEYS[5], run) then iteration = 'active' end
    end
  end
  answer[#answer + 1] = score or 0
  answer[#answer + 1] = iteration
end
return answer`;
