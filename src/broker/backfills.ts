import type { Timing } from '../jobs/schedule.js';
import { type LedgerOf, ledgerKeys } from './ledger-format.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';

/** Ticks that follow each other, from the first to the last. Times in ms since the epoch. */
export type Span = readonly [from: number, to: number];

/** What a backfill was asked to do, and which ticks it runs. Times in ms since the epoch. */
export interface Backfill extends LedgerOf {
  readonly id: string;
  readonly from: number;
  readonly to: number;
  readonly onlyMissed: boolean;
  /** Who asked, as people know them. */
  readonly by: string;
  readonly createdAt: number;
  /** The schedule's times when it was asked, by which its ticks are counted. */
  readonly timing: Timing;
  readonly spans: readonly Span[];
  readonly count: number;
}

/**
 * `feeding`: its runs are being added; `fed`: all are; `stopped`: somebody stopped that; `cancelling`: what waits is being
 * removed; `done`: each of its ticks has been claimed.
 */
export type BackfillState = 'feeding' | 'fed' | 'stopped' | 'cancelling' | 'cancelled' | 'done';

/** How far a backfill has come. */
export interface Standing {
  readonly state: BackfillState;
  /** How many of its ticks have their run, and the last of them. */
  readonly fed: number;
  readonly at: number | null;
  /** How many a worker has claimed. */
  readonly started: number;
}

export type BackfillRecord = Backfill & Standing;

/** Which backfill a run belongs to, and which of its ticks it is, from 0: travels in the run's options. */
export interface BackfillMark {
  readonly id: string;
  readonly index: number;
}

/** So many ticks share one field of claim marks. */
const marksPerField = 1_000;

/** Every backfill that there was of a schedule, oldest first, and a number that changes when another is made. */
export async function readBackfills(
  broker: Broker,
  of: LedgerOf,
): Promise<{ readonly records: BackfillRecord[]; readonly made: string }> {
  const fields = await broker.client.hgetall(ledgerKeys(broker, of).backfills);
  const ids = Object.keys(fields).filter((field) => /^[0-9a-f]{8}$/.test(field));
  const records = ids.map((id) => recordOf(of, id, (name) => fields[name ? `${id}.${name}` : id]));
  return { records: records.sort((a, b) => a.createdAt - b.createdAt), made: fields.made ?? '' };
}

/** One of them, or null. */
export async function readBackfill(broker: Broker, of: LedgerOf, id: string): Promise<BackfillRecord | null> {
  const names = ['', 'state', 'fed', 'at', 'started'];
  const fields = names.map((name) => (name ? `${id}.${name}` : id));
  const values = await broker.client.hmget(ledgerKeys(broker, of).backfills, ...fields);
  return values[0] ? recordOf(of, id, (name = '') => values[names.indexOf(name)] ?? undefined) : null;
}

/**
 * Writes a new backfill, to be fed.
 *
 * @param made as `readBackfills` told it, when what is left to others was looked at
 * @returns false where another has been made since
 */
export async function makeBackfill(broker: Broker, backfill: Backfill, made: string): Promise<boolean> {
  const { id, job, schedule, ...rest } = backfill;
  // Before the record: a producer that finds nothing there forgets it, and one that is not listed nobody would resume.
  await listAsOpen(broker, backfill);
  const keys = ledgerKeys(broker, backfill);
  const args = [made, id, JSON.stringify(rest), backfill.count];
  return (await makeScript(broker.client, [keys.backfills], args)) === 1;
}

/**
 * Says that the runs up to a tick have been added.
 *
 * @param before how many had been when the batch was begun; where that is no longer so nothing is written
 */
export async function advance(
  broker: Broker,
  of: LedgerOf & { readonly id: string },
  before: number,
  now: { readonly fed: number; readonly at: number },
): Promise<void> {
  const keys = ledgerKeys(broker, of);
  await advanceScript(broker.client, [keys.backfills, keys.backfilled], [of.id, before, now.fed, now.at]);
}

/** Changes the state where it is one of some, and answers what it is then. */
export async function moveState(
  broker: Broker,
  of: LedgerOf & { readonly id: string },
  from: readonly BackfillState[],
  to: BackfillState,
): Promise<BackfillState> {
  const { backfills } = ledgerKeys(broker, of);
  return (await moveScript(broker.client, [backfills], [of.id, to, ...from])) as BackfillState;
}

/** All that there is has been added, unless somebody has set it back since: `fed` is how far that is. */
export async function endFeeding(broker: Broker, of: LedgerOf & { readonly id: string }, fed: number): Promise<void> {
  await endScript(broker.client, [ledgerKeys(broker, of).backfills], [of.id, fed]);
}

/** Which of a backfill's ticks have been claimed, `from` included and `to` not; both count from 0. */
export async function claimedTicks(
  broker: Broker,
  of: LedgerOf & { readonly id: string },
  from: number,
  to: number,
): Promise<(index: number) => boolean> {
  const first = Math.floor(from / marksPerField);
  const last = Math.floor(Math.max(from, to - 1) / marksPerField);
  const fields = Array.from({ length: last - first + 1 }, (_, at) => `${of.id}.${first + at}`);
  const marks = await broker.client.hmget(ledgerKeys(broker, of).backfilled, ...fields);
  return (index) => marks[Math.floor(index / marksPerField) - first]?.[index % marksPerField] === '1';
}

/** The schedules that have a backfill somebody has to look after, each with its job. */
export async function listOpen({ client, keys }: Broker): Promise<LedgerOf[]> {
  return Object.entries(await client.hgetall(keys.backfills)).map(([schedule, job]) => ({ job, schedule }));
}

export async function listAsOpen({ client, keys }: Broker, { job, schedule }: LedgerOf): Promise<void> {
  await client.hset(keys.backfills, schedule, job);
}

export async function listAsClosed({ client, keys }: Broker, { schedule }: LedgerOf): Promise<void> {
  await client.hdel(keys.backfills, schedule);
}

function recordOf(of: LedgerOf, id: string, field: (name?: string) => string | undefined): BackfillRecord {
  const told = JSON.parse(field() ?? '{}') as Omit<Backfill, 'id' | 'job' | 'schedule'>;
  const at = field('at');
  return {
    ...of,
    ...told,
    id,
    state: (field('state') ?? 'cancelled') as BackfillState,
    fed: Number(field('fed') ?? 0),
    at: at ? Number(at) : null,
    started: Number(field('started') ?? 0),
  };
}

/** Once each tick is claimed its marks say nothing that the state does not. */
export const backfillLua = `
local function finish(backfills, backfilled, id)
  local of = redis.call('HMGET', backfills, id .. '.state', id .. '.started', id .. '.count')
  if of[1] ~= 'fed' or tonumber(of[2]) < tonumber(of[3]) then return end
  redis.call('HSET', backfills, id .. '.state', 'done')
  for field = 0, math.floor((tonumber(of[3]) - 1) / ${marksPerField}) do redis.call('HDEL', backfilled, id .. '.' .. field) end
end
local function isMarked(backfilled, id, index)
  local marks = redis.call('HGET', backfilled, id .. '.' .. math.floor(index / ${marksPerField})) or ''
  local at = index % ${marksPerField} + 1
  return string.sub(marks, at, at) == '1'
end
local function mark(backfilled, id, index)
  local field = id .. '.' .. math.floor(index / ${marksPerField})
  local marks = redis.call('HGET', backfilled, field) or ''
  local at = index % ${marksPerField} + 1
  marks = marks .. string.rep('0', at - #marks)
  redis.call('HSET', backfilled, field, string.sub(marks, 1, at - 1) .. '1' .. string.sub(marks, at + 1))
end
`;

const makeScript = createScript(`
if (redis.call('HGET', KEYS[1], 'made') or '') ~= ARGV[1] then return 0 end
local id = ARGV[2]
redis.call('HINCRBY', KEYS[1], 'made', 1)
redis.call('HSET', KEYS[1], id, ARGV[3], id .. '.state', 'feeding', id .. '.fed', 0, id .. '.at', '',
  id .. '.started', 0, id .. '.count', ARGV[4])
return 1`);

const advanceScript = createScript(`${backfillLua}
local id = ARGV[1]
local of = redis.call('HMGET', KEYS[1], id .. '.state', id .. '.fed', id .. '.count')
if of[1] ~= 'feeding' or of[2] ~= ARGV[2] then return end
redis.call('HSET', KEYS[1], id .. '.fed', ARGV[3], id .. '.at', ARGV[4])
if tonumber(ARGV[3]) < tonumber(of[3]) then return end
redis.call('HSET', KEYS[1], id .. '.state', 'fed')
finish(KEYS[1], KEYS[2], id)`);

const endScript = createScript(`
local id = ARGV[1]
local of = redis.call('HMGET', KEYS[1], id .. '.state', id .. '.fed')
if of[1] == 'feeding' and of[2] == ARGV[2] then redis.call('HSET', KEYS[1], id .. '.state', 'fed') end`);

const moveScript = createScript(`
local field = ARGV[1] .. '.state'
local state = redis.call('HGET', KEYS[1], field) or 'cancelled'
for i = 3, #ARGV do
  if state == ARGV[i] then
    redis.call('HSET', KEYS[1], field, ARGV[2])
    return ARGV[2]
  end
end
return state`);
