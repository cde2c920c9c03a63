import type { Overlap } from '../jobs/overlap.js';
import { type LedgerOf, ledgerKeys } from './ledger-format.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';

/*
 * Whose turn it is among the runs of a schedule that may not overlap: a lease, held from a run's start until it has
 * ended for BullMQ, its retries included. It needs no renewal of its own: a holder whose process died or froze is
 * given to another process by BullMQ, and goes on; one that is gone from Redis, or has ended, holds no more.
 *
 * One sorted set: the holder at 0, those that wait for their turn behind it, and the fence.
 */

export interface TurnInput extends LedgerOf {
  readonly run: string;
  readonly overlap: Exclude<Overlap, 'allow'>;
  /** It has been promised to run: it waits for its turn, whatever the policy. */
  readonly promised: boolean;
  /** Where it stands among those that wait: the time of its tick, in ms since the epoch. */
  readonly order: number;
}

export type Turn =
  /** It may run; `fence` is higher than that of every start before it. */
  | { readonly type: 'held'; readonly fence: number }
  /** It is to wait outside, until it is woken; the run that holds the turn, where one does. */
  | { readonly type: 'parked'; readonly holder: string | null }
  /** It is not to run: another executes, or another waits already. */
  | { readonly type: 'busy' }
  | { readonly type: 'behind'; readonly run: string };

/** Takes the turn of a schedule for a run, or says why it cannot have it. The one that has it gets it again. */
export async function takeTurn(broker: Broker, { run, overlap, promised, order, ...of }: TurnInput): Promise<Turn> {
  const { turns, base } = keysOf(broker, of);
  const args = [base, run, overlap, promised ? 1 : 0, order];
  const [type, word] = (await takeScript(broker.client, [turns], args)) as [Turn['type'], string];
  switch (type) {
    case 'held':
      return { type, fence: Number(word) };
    case 'parked':
      return { type, holder: word || null };
    case 'behind':
      return { type, run: word };
    case 'busy':
      return { type };
  }
}

/** A run has ended, or will not run: the first of those that wait is woken. */
export async function endTurn(broker: Broker, of: LedgerOf, run: string): Promise<void> {
  const { turns, base } = keysOf(broker, of);
  const first = await endScript(broker.client, [turns], [base, run]);
  if (first) await wake(broker, of.job, String(first));
}

/** Wakes the first that waits of each of these schedules of a job where no run holds the turn: a crash may have kept it from its word. */
export async function wakeWaiting(broker: Broker, job: string, schedules: readonly string[]): Promise<void> {
  const keys = schedules.map((schedule) => keysOf(broker, { job, schedule }));
  const [{ base } = { base: '' }] = keys;
  const turns = keys.map((key) => key.turns);
  const first = (await firstScript(broker.client, turns, [base])) as string[];
  for (const run of first) await wake(broker, job, run);
}

/** The one that waits does so among the delayed; where it is not there yet, whoever puts it there looks again. */
async function wake(broker: Broker, job: string, id: string): Promise<void> {
  const run = await broker.queue(job).getJob(id);
  if (await run?.isDelayed()) await run?.promote().catch(() => {}); // somebody else was quicker
}

function keysOf(broker: Broker, of: LedgerOf) {
  const { turns, run } = ledgerKeys(broker, of);
  return { turns, base: run('') };
}

const firstLua = `
local function lives(id)
  local key = ARGV[1] .. id
  return redis.call('EXISTS', key) == 1 and redis.call('HEXISTS', key, 'finishedOn') == 0
end

-- The first that lives, of the holder or of those that wait; the dead are dropped.
local function first(turns, from, to, own)
  while true do
    local id = redis.call('ZRANGEBYSCORE', turns, from, to, 'LIMIT', 0, 1)[1]
    if not id or id == own or lives(id) then return id end
    redis.call('ZREM', turns, id)
  end
end

local function waiting(turns)
  if not first(turns, '0', '0') then return first(turns, '(0', '+inf') end
end
`;

const takeScript = createScript(`${firstLua}
local turns, run = KEYS[1], ARGV[2]
local holder = first(turns, '0', '0', run)
local ahead = first(turns, '(0', '+inf', run)
local isFirst = not ahead or ahead == run or tonumber(ARGV[5]) < tonumber(redis.call('ZSCORE', turns, ahead))
if holder == run or not holder and isFirst then
  redis.call('ZADD', turns, '0', run)
  return { 'held', tostring(-redis.call('ZINCRBY', turns, '-1', '#fence')) }
end
if ARGV[4] == '0' then
  if ARGV[3] == 'skip' then return { 'busy', '' } end
  -- One that was caught up is for its own tick: the live one that waits is what later ones coalesce into.
  if not redis.call('ZSCORE', turns, run) then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', turns, '(0', '+inf')) do
      if string.sub(id, 1, 5) ~= 'tick:' and lives(id) then return { 'behind', id } end
    end
  end
end
redis.call('ZADD', turns, ARGV[5], run)
return { 'parked', holder or '' }`);

const endScript = createScript(`${firstLua}
redis.call('ZREM', KEYS[1], ARGV[2])
return waiting(KEYS[1])`);

const firstScript = createScript(`${firstLua}
local found = {}
for _, turns in ipairs(KEYS) do
  local id = waiting(turns)
  if id then found[#found + 1] = id end
end
return found`);
