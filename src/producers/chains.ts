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

/**
 * Removes what is left of a run that its chain has lost, and that is in the way of a new one. One that executes, or
 * has ended, stays.
 */
export async function removeStrayRun({ client, keys }: Broker, job: string, id: string, time: number): Promise<void> {
  const base = `${keys.queuePrefix(job)}:${job}:`;
  const run = `repeat:${id}:${time}`;
  const lists = ['delayed', 'prioritized', 'wait', 'active'].map((name) => base + name);
  await client.eval(removeStrayRunLua, lists.length + 1, ...lists, base + run, run);
}

async function readBatch(broker: Broker, job: string, ids: readonly string[], into: Map<string, Chain>): Promise<void> {
  const base = `${broker.keys.queuePrefix(job)}:${job}:`;
  const keys = ['repeat', 'delayed', 'wait', 'prioritized', 'active'].map((name) => base + name);
  const answer = await broker.client.eval(readChainsLua, keys.length, ...keys, base, ...ids);
  const [times, others] = answer as [string, (number | string)[]];
  const scores = times.split(' ');
  const iterations = new Map<number, Chain['iteration']>();
  for (let at = 0; at < others.length; at += 2)
    iterations.set(Number(others[at]), others[at + 1] as Chain['iteration']);
  ids.forEach((id, index) => {
    const next = Number(scores[index]);
    into.set(id, { next: next > 0 ? next : null, iteration: iterations.get(index + 1) ?? 'delayed' });
  });
}

// One call, so that a worker that moves a chain on meanwhile does not make it look broken. Nearly always every
// iteration is delayed, which three commands tell of the whole batch; only then is each looked at. Times are
// handed on as Redis's own text: on the 32-bit embedded server a formatted number would be cut off.
const readChainsLua = `
local base, ids = ARGV[1], {}
for i = 2, #ARGV do ids[i - 1] = ARGV[i] end
local times, runs, hashes = redis.call('ZMSCORE', KEYS[1], unpack(ids)), {}, {}
for i, id in ipairs(ids) do
  times[i] = times[i] or '0'
  local scheduler = 'repeat:' .. id
  runs[i] = scheduler .. ':' .. times[i]
  hashes[2 * i - 1] = base .. scheduler
  hashes[2 * i] = base .. runs[i]
end
local delayed = redis.call('ZMSCORE', KEYS[2], unpack(runs))
local whole = redis.call('EXISTS', unpack(hashes)) == #hashes

local function iteration(i)
  if times[i] == '0' or redis.call('EXISTS', hashes[2 * i - 1], hashes[2 * i]) < 2 then return 'gone' end
  if delayed[i] then return 'delayed' end
  if redis.call('HEXISTS', hashes[2 * i], 'finishedOn') == 1 then return 'finished' end
  if redis.call('ZSCORE', KEYS[4], runs[i]) or redis.call('LPOS', KEYS[3], runs[i]) then return 'queued' end
  return redis.call('LPOS', KEYS[5], runs[i]) and 'active' or 'gone'
end

local others = {}
for i = 1, #ids do
  if not whole or not delayed[i] then
    local found = iteration(i)
    if found ~= 'delayed' then
      others[#others + 1] = i
      others[#others + 1] = found
    end
  end
end
return { table.concat(times, ' '), others }`;

const removeStrayRunLua = `
local run = ARGV[1]
if redis.call('HEXISTS', KEYS[5], 'finishedOn') == 1 or redis.call('LPOS', KEYS[4], run) then return end
redis.call('ZREM', KEYS[1], run)
redis.call('ZREM', KEYS[2], run)
redis.call('LREM', KEYS[3], 0, run)
redis.call('DEL', KEYS[5], KEYS[5] .. ':logs')`;
