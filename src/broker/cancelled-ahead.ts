import { readCursor } from './ledger.js';
import { type LedgerOf, ledgerKeys } from './ledger-format.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';
import { isRange, type TickEntry, unpackEntry } from './tick-entry.js';

/**
 * Takes back what of a ledger was cancelled before it was due: where a schedule's times change, or it goes, these are
 * ticks of it no longer. The ledger stands then where it stood before.
 *
 * @param offset how much later than its time a tick is due, in ms
 */
export async function takeBackCancelled(broker: Broker, of: LedgerOf, offset: number, now: number): Promise<void> {
  const { cursor: cursorKey, ticks } = ledgerKeys(broker, of);
  for (;;) {
    const cursor = await readCursor(broker, of);
    if (!cursor || cursor.at + offset <= now) return;
    const [packed, from] = await Promise.all([
      broker.client.zrange(ticks, '0', '-1'),
      broker.client.hget(cursorKey, 'from'),
    ]);
    const entries = packed.map((text) => unpackEntry(of.schedule, text));
    const first = entries.findLastIndex((entry) => !entry || !isYetToCome(entry, offset, now)) + 1;
    const next = entries.slice(first).find((entry) => entry?.outcome === 'cancelled')?.time;
    if (next === undefined) return;
    const before = entries[first - 1];
    const at = before ? endOf(before, now - offset) : Number(from);
    const stands = String(cursor.at);
    if (await takeBackScript(broker.client, [cursorKey, ticks], [stands, at, next, ...packed.slice(first)])) return;
  }
}

/** Calendars have their say ahead with what is cancelled behind it. */
function isYetToCome(entry: TickEntry, offset: number, now: number): boolean {
  return isRange(entry) && ['cancelled', 'excluded'].includes(entry.outcome) && entry.time + offset > now;
}

/** A run that came early stays where it is; a range that reaches beyond now says nothing of later. */
function endOf(entry: TickEntry, now: number): number {
  return isRange(entry) ? Math.min(entry.to, Math.max(now, entry.time)) : entry.time;
}

const takeBackScript = createScript(`
if redis.call('HGET', KEYS[1], 'at') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'at', ARGV[2], 'next', ARGV[3])
for i = 4, #ARGV do redis.call('ZREM', KEYS[2], ARGV[i]) end
return 1`);
