import { ErrorCode } from 'bullmq';
import { type LedgerOf, ledgerKeys, readCursorText, soundLua } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { iterationId, repeatOptions } from '../broker/repeat.js';
import { createScript } from '../broker/scripts.js';
import { chunks } from './chunks.js';
import type { Chain, Specification } from './plan.js';

/**
 * Where BullMQ's chain of each schedule stands: its next time, and what has become of the iteration that
 * carries it. Looks only: BullMQ's own listing of schedulers drops what it finds incomplete.
 *
 * @param byJob schedule ids, by job
 * @param options.ledgers whether to read where their ledgers stand, and to look for edits by hand: half of the price
 */
export async function readChains(
  broker: Broker,
  byJob: ReadonlyMap<string, readonly string[]>,
  { ledgers = true } = {},
): Promise<Map<string, Chain>> {
  const chains = new Map<string, Chain>();
  const reads = [...byJob].flatMap(([job, ids]) =>
    chunks(ids, 1_000).map((batch) => readBatch(broker, job, batch, ledgers, chains)),
  );
  await Promise.all(reads);
  return chains;
}

/**
 * Makes BullMQ's chain of a schedule what it should be, or removes it where no tick is left.
 *
 * @param after it goes on after the tick that is due then, though that is yet to come
 */
export async function upsertChain(
  broker: Broker,
  id: string,
  { job, timing, policy, payload, options }: Specification,
  next: number | null,
  after?: number,
): Promise<void> {
  const queue = broker.queue(job);
  const template = { name: job, data: payload, opts: options };
  const tryUpsert = () => queue.upsertJobScheduler(id, repeatOptions(id, timing, policy, after), template);
  // BullMQ answers nothing, and does nothing, where no tick is left; its types do not say so.
  const upserted: unknown = await tryUpsert().catch(async (error: { code?: unknown }) => {
    if (error.code !== ErrorCode.SchedulerJobIdCollision || next === null) throw error;
    await removeStrayRun(broker, job, id, next);
    return tryUpsert();
  });
  if (upserted) await sealChain(broker, { job, schedule: id });
  else await removeChain(broker, job, id);
}

/** Ends BullMQ's chain of a schedule, with the run that it has ready for the next tick. */
export async function removeChain(broker: Broker, job: string, id: string): Promise<void> {
  await letGoOfLast(broker, job, id);
  await broker.queue(job).removeJobScheduler(id);
}

/**
 * The run of a schedule's last tick stays its scheduler's current one, and BullMQ would delete it with the scheduler,
 * or in favour of a new one: where it has its tick, and waits for another attempt or for its turn, it goes on by itself.
 */
export async function letGoOfLast({ client, keys }: Broker, job: string, id: string): Promise<void> {
  const base = `${keys.queuePrefix(job)}:${job}:`;
  await letGoScript(client, [`${base}repeat`, `${base}repeat:${id}`], [id]);
}

/**
 * Removes what is left of a run that its chain has lost, and that is in the way of a new one. One that executes, or
 * has ended, stays.
 */
async function removeStrayRun({ client, keys }: Broker, job: string, id: string, time: number): Promise<void> {
  const base = `${keys.queuePrefix(job)}:${job}:`;
  const run = iterationId(id, time);
  const lists = ['delayed', 'prioritized', 'wait', 'active'].map((name) => base + name);
  await removeStrayRunScript(client, [...lists, base + run], [run]);
}

/** Remembers what the scheduler of a schedule looks like, so that an edit by hand is seen. */
async function sealChain(broker: Broker, of: LedgerOf): Promise<void> {
  const base = `${broker.keys.queuePrefix(of.job)}:${of.job}:`;
  await sealScript(broker.client, [ledgerKeys(broker, of).cursor, `${base}repeat:${of.schedule}`], []);
}

async function readBatch(
  broker: Broker,
  job: string,
  ids: readonly string[],
  ledgers: boolean,
  into: Map<string, Chain>,
): Promise<void> {
  const slot = broker.keys.queuePrefix(job);
  const base = `${slot}:${job}:`;
  const keys = ['repeat', 'delayed', 'wait', 'prioritized', 'active'].map((name) => base + name);
  const answer = await readChainsScript(broker.client, keys, [base, slot, ledgers ? 1 : 0, ...ids]);
  const [times, cursors, odd] = answer as [string, string, (number | string)[]];
  const scores = times.split(' ');
  const stands = cursors.split('\n');
  const oddities = new Map<number, string>();
  for (let at = 0; at < odd.length; at += 2) oddities.set(Number(odd[at]), `${odd[at + 1]}`);
  ids.forEach((id, index) => {
    const next = Number(scores[index]);
    const [iteration = 'delayed', claims, edited] = (oddities.get(index + 1) ?? 'delayed').split(' ');
    into.set(id, {
      next: next > 0 ? next : null,
      iteration: iteration as Chain['iteration'],
      cursor: readCursorText(stands[index] ?? ''),
      claims: claims === '1',
      edited: edited === '1',
    });
  });
}

const sealLua = `
local function seal(scheduler)
  local fields = redis.call('HMGET', scheduler, 'name', 'pattern', 'every', 'tz', 'data', 'opts', 'limit', 'startDate', 'endDate')
  for i = 1, 9 do fields[i] = fields[i] or '' end
  return string.sub(redis.sha1hex(table.concat(fields, '|')), 1, 12)
end
`;

const sealScript = createScript(`${sealLua}
if redis.call('HEXISTS', KEYS[1], 'at') == 1 then redis.call('HSET', KEYS[1], 'seal', seal(KEYS[2])) end`);

// One call, so that a worker that moves a chain on meanwhile does not make it look broken. Nearly always every
// iteration is delayed, which three commands tell of the whole batch; only then is each looked at. Times are
// handed on as Redis's own text: on the 32-bit embedded server a formatted number would be cut off.
const readChainsScript = createScript(`${sealLua}${soundLua}
local base, slot, ids = ARGV[1], ARGV[2], {}
for i = 4, #ARGV do ids[i - 3] = ARGV[i] end
local times, runs, hashes, claims, cursors, edited = redis.call('ZMSCORE', KEYS[1], unpack(ids)), {}, {}, {}, {}, {}
for i, id in ipairs(ids) do
  times[i] = times[i] or '0'
  local scheduler = 'repeat:' .. id
  runs[i] = scheduler .. ':' .. times[i]
  hashes[2 * i - 1] = base .. scheduler
  hashes[2 * i] = base .. runs[i]
  if ARGV[3] == '1' then
    claims[i] = slot .. ':claims:' .. id
    local stands = redis.pcall('HMGET', slot .. ':cursor:' .. id, 'at', 'next', 'pause', 'seal', 'removed')
    cursors[i] = sound(stands[1], stands[2]) and not stands[5] and table.concat({ stands[1], stands[2] or '', stands[3] or '' }, '|') or ''
    edited[i] = stands[4] and times[i] ~= '0' and stands[4] ~= seal(hashes[2 * i - 1])
  end
end
local delayed = redis.call('ZMSCORE', KEYS[2], unpack(runs))
local whole = redis.call('EXISTS', unpack(hashes)) == #hashes
local claimed = #claims > 0 and redis.call('EXISTS', unpack(claims)) > 0

-- Read once, where an iteration is not delayed: looking for each through the whole list would block Redis.
local lists = {}
local function isIn(key, run)
  if not lists[key] then
    lists[key] = {}
    for _, id in ipairs(redis.call('LRANGE', key, 0, -1)) do lists[key][id] = true end
  end
  return lists[key][run]
end

local function iteration(i)
  if times[i] == '0' or redis.call('EXISTS', hashes[2 * i - 1], hashes[2 * i]) < 2 then return 'gone' end
  if delayed[i] then return 'delayed' end
  if redis.call('HEXISTS', hashes[2 * i], 'finishedOn') == 1 then return 'finished' end
  if redis.call('ZSCORE', KEYS[4], runs[i]) or isIn(KEYS[3], runs[i]) then return 'queued' end
  return isIn(KEYS[5], runs[i]) and 'active' or 'gone'
end

local odd = {}
for i = 1, #ids do
  if not whole or not delayed[i] or claimed or edited[i] then
    local found = whole and delayed[i] and 'delayed' or iteration(i)
    local open = claimed and redis.call('EXISTS', claims[i]) == 1
    if found ~= 'delayed' or open or edited[i] then
      odd[#odd + 1] = i
      odd[#odd + 1] = found .. (open and ' 1' or ' 0') .. (edited[i] and ' 1' or ' 0')
    end
  end
end
return { table.concat(times, ' '), table.concat(cursors, '\\n'), odd }`);

const letGoScript = createScript(`
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or redis.call('HEXISTS', KEYS[2] .. ':' .. score, 'tick') == 0 then return end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])`);

const removeStrayRunScript = createScript(`
local run = ARGV[1]
if redis.call('HEXISTS', KEYS[5], 'finishedOn') == 1 or redis.call('LPOS', KEYS[4], run) then return end
redis.call('ZREM', KEYS[1], run)
redis.call('ZREM', KEYS[2], run)
redis.call('LREM', KEYS[3], 0, run)
redis.call('DEL', KEYS[5], KEYS[5] .. ':logs')`);
