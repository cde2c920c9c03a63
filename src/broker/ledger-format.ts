import type { Unresolved } from '../jobs/schedule.js';
import type { Broker } from './queues.js';

/** A schedule of a job, as its ledger's keys name it. */
export interface LedgerOf {
  readonly job: string;
  readonly schedule: string;
}

/** Up to where a schedule's ticks are accounted for. Times in ms since the epoch. */
export interface Cursor {
  /** The last tick that has its entry, or when the ledger began. */
  readonly at: number;
  /** The first tick that has none; null where the schedule has ended. */
  readonly next: number | null | Unresolved;
  readonly pause: Pause | null;
}

export interface Pause {
  readonly since: number;
  readonly until: number | null;
}

/** What is open: a run that executes, that waits to be taken, or that is still to be added. */
export interface Claim {
  readonly tick: number;
  readonly due: number;
  readonly claimedAt: number;
  readonly state: 'running' | 'waiting' | 'pending';
  /** How its run has ended, as a worker saw it before BullMQ had its word; packed. */
  readonly last?: string;
}

/** How many entries are kept of a schedule. */
export const ledgerCap = 1_000;

export function ledgerKeys({ keys }: Broker, { job, schedule }: LedgerOf) {
  const slot = keys.queuePrefix(job);
  return {
    cursor: `${slot}:cursor:${schedule}`,
    ticks: `${slot}:ticks:${schedule}`,
    claims: `${slot}:claims:${schedule}`,
    turns: `${slot}:overlap:${schedule}`,
    backfills: `${slot}:backfills:${schedule}`,
    backfilled: `${slot}:backfilled:${schedule}`,
    outcomes: `${slot}:outcomes`,
    run: (id: string) => `${slot}:${job}:${id}`,
  };
}

export function pauseHolds(pause: Pause | null, now: number): boolean {
  return pause !== null && (pause.until === null || now < pause.until);
}

/** A cursor as one text, `at|next|pause`; nothing where there is none. */
export function readCursorText(text: string): Cursor | null {
  return text ? cursorOf(text.split('|')) : null;
}

export function textOf(time: number | null | Unresolved): string {
  if (isUnresolved(time)) return `>${time.after}`;
  return time === null ? '' : String(time);
}

export function isUnresolved(time: number | null | Unresolved): time is Unresolved {
  return typeof time === 'object' && time !== null;
}

export function textOfPause(pause: Pause | null): string {
  return pause ? `${pause.since} ${textOf(pause.until)}` : '';
}

export function cursorOf([at, next, pause]: (string | null | undefined)[]): Cursor {
  const unresolved = next?.startsWith('>') && { after: Number(next.slice(1)) };
  return { at: Number(at), next: unresolved || (next ? Number(next) : null), pause: pauseIn(pause) };
}

export function pauseIn(text: string | null | undefined): Pause | null {
  if (!text) return null;
  const [since, until] = text.split(' ');
  return { since: Number(since), until: until ? Number(until) : null };
}

export function packClaim({ tick, due, claimedAt, state, last }: Claim): string {
  return [tick, due, claimedAt, state, ...(last ? [last] : [])].join(' ');
}

export function unpackClaim(text: string): Claim {
  const [tick, due, claimedAt, state, ...words] = text.split(' ');
  const known = state === 'pending' || state === 'waiting' ? state : 'running';
  const last = words.join(' ');
  return { tick: Number(tick), due: Number(due), claimedAt: Number(claimedAt), state: known, ...(last && { last }) };
}

/** A cursor that makes no sense, since a hand has been at it, is none. */
export const soundLua = `
local function sound(at, next)
  return at and string.match(at, '^%d+$') and string.match(next or '', '^>?%d*$')
end
`;

export const trimLua = `
local function trim(cursor, ticks, cap)
  local over = redis.call('ZCARD', ticks) - tonumber(cap)
  if over <= 0 then return end
  redis.call('ZREMRANGEBYRANK', ticks, 0, over - 1)
  redis.call('HSET', cursor, 'from', redis.call('ZRANGE', ticks, 0, 0, 'WITHSCORES')[2])
end
`;
