import { type Pause, pauseHolds } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { unpackEntry } from '../broker/tick-entry.js';
import { nextTick, offsetOf, type Timing, ticksAfter } from '../jobs/schedule.js';
import { isoTime } from '../jobs/words.js';
import { accountedUntil, type Chain, faultOf, isEnabled, isOver, type Stored, timingOf } from './plan.js';

/** Worst last: what a reader looks for. */
export const healths = ['sound', 'ended', 'disabled', 'paused', 'held', 'late', 'broken', 'ledger unreadable'] as const;
export type Health = (typeof healths)[number];

/** How a ledger ends: its last entry as it is packed, and how many runs there were. */
export interface LedgerEnd {
  readonly exists: boolean;
  readonly runs: number;
  readonly last: string | null;
}

/** How a schedule is, and what is the matter with it where something is. */
export interface Found {
  readonly health: Health;
  readonly why?: string;
}

/** How late a due run may wait for a worker, in ms, before it is said. */
const lateMs = 5_000;

/** What is the matter with a schedule, if anything is. */
export function healthOf(
  broker: Broker,
  stored: Stored,
  chain: Chain | undefined,
  end: LedgerEnd | undefined,
  now: number,
): Found {
  if (end?.last && !unpackEntry(stored.id, end.last)) return unreadable('its last entry');
  return judge(broker, stored, chain, end, now);
}

/** The same where nobody has read its last entry. */
export function judge(
  broker: Broker,
  stored: Stored,
  chain: Chain | undefined,
  end: Pick<LedgerEnd, 'exists'> | undefined,
  now: number,
): Found {
  if (end?.exists && !chain?.cursor) return unreadable('where it stands');
  if (!isEnabled(stored)) return { health: 'disabled' };
  if (hasEnded(broker, stored, chain, now)) return { health: 'ended' };
  const fault = faultOf(chain) ?? (chain?.cursor ? null : 'it has no ledger yet');
  if (fault) return { health: 'broken', why: fault };
  if (stored.held) return { health: 'held', why: 'no longer declared, or disabled in code: waits for apply --yes' };
  if (stored.pause && pauseHolds(stored.pause, now)) return { health: 'paused' };
  if (isPausedAt(chain, now)) return { health: 'broken', why: 'its ledger is paused, and its entry is not' };
  const waits = chain?.iteration === 'delayed' || chain?.iteration === 'queued';
  if (waits && chain.next !== null && now - chain.next > lateMs) {
    return { health: 'late', why: `due since ${isoTime(chain.next)}, and no worker has taken it` };
  }
  return { health: 'sound' };
}

const unreadable = (what: string): Found => ({ health: 'ledger unreadable', why: `${what} makes no sense` });

function isPausedAt(chain: Chain | undefined, now: number): boolean {
  const pause: Pause | null = chain?.cursor?.pause ?? null;
  return pauseHolds(pause, now) && now - (pause?.since ?? now) > lateMs;
}

function hasEnded(broker: Broker, { id, specification }: Stored, chain: Chain | undefined, now: number): boolean {
  const { timing } = specification;
  if (isSound(chain)) return false;
  if (isOver(chain?.cursor, specification, now)) return true;
  if (timing.kind === 'next' && !broker.ruleOf(id)) return chain?.cursor?.next === null;
  return ticksDueAfter(broker, id, timing, now, 1).length === 0;
}

/** Whether the next run is where it should be. */
function isSound(chain: Chain | undefined): boolean {
  return chain !== undefined && ['delayed', 'queued', 'active'].includes(chain.iteration);
}

/** When its next run is due, in ms since the epoch. */
export function nextDue(broker: Broker, { id, specification, pause }: Stored, chain: Chain | undefined, now: number) {
  if (pause && pauseHolds(pause, now)) {
    const timing = timingOf(specification);
    const accounted = accountedUntil(chain?.cursor, timing);
    const [first] = pause.until === null ? [] : ticksDueAfter(broker, id, timing, Math.max(pause.until, accounted), 1);
    return first === undefined ? null : first + offsetOf(timing);
  }
  return chain && isSound(chain) ? chain.next : null;
}

/** The first ticks that are due after a moment; none where only another release's code could tell. */
export function ticksDueAfter(broker: Broker, id: string, timing: Timing, after: number, count: number): number[] {
  const rule = broker.ruleOf(id);
  if (timing.kind === 'next' && !rule) return [];
  const from = after - offsetOf(timing);
  try {
    if (count === 1) return [nextTick(timing, from, rule)].filter((time) => time !== null);
    const ticks: number[] = [];
    for (const time of ticksAfter(timing, from, rule)) if (ticks.push(time) >= count) break;
    return ticks;
  } catch {
    return []; // a schedule's own rule may fail
  }
}
