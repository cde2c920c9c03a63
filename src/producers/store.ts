import type { Broker } from '../broker/queues.js';
import { createScript } from '../broker/scripts.js';
import { RondoError } from '../errors.js';
import { withNearest } from '../problems.js';
import type { Stored } from './plan.js';
import { type Entry, readEntry } from './store-entry.js';

export type { Entry };

/** What the store holds of every schedule, and the ids whose entry makes no sense to this release. */
export async function readStore(broker: Broker): Promise<{ stored: Map<string, Stored>; unreadable: Set<string> }> {
  const stored = new Map<string, Stored>();
  const unreadable = new Set<string>();
  for (const [id, text] of Object.entries(await broker.client.hgetall(broker.keys.schedules))) {
    const entry = readEntry(text);
    if (entry) stored.set(id, Object.assign(entry, { id }));
    else unreadable.add(id);
  }
  return { stored, unreadable };
}

/** One entry, or null where there is none that makes sense. */
export async function readStored(broker: Broker, id: string): Promise<Stored | null> {
  const text = await broker.client.hget(broker.keys.schedules, id);
  const entry = text ? readEntry(text) : null;
  return entry && Object.assign(entry, { id });
}

/** Some entries, in the order of their ids as given; without those that are not there, or make no sense. */
export async function readSome(broker: Broker, ids: readonly string[]): Promise<Stored[]> {
  if (ids.length === 0) return [];
  const texts = await broker.client.hmget(broker.keys.schedules, ...ids);
  return ids.flatMap((id, index) => {
    const entry = readEntry(texts[index] ?? 'null');
    return entry ? [Object.assign(entry, { id })] : [];
  });
}

/** Whether each of some has an entry, whatever that says. */
export async function areStored(broker: Broker, schedules: readonly { readonly id: string }[]): Promise<boolean> {
  const known = new Set(await broker.client.hkeys(broker.keys.schedules));
  return schedules.every(({ id }) => known.has(id));
}

/** Says that there is none, with the nearest id; or that there is one which makes no sense. */
export async function unknownSchedule(broker: Broker, id: string): Promise<RondoError> {
  const known = await broker.client.hkeys(broker.keys.schedules);
  if (known.includes(id)) return new RondoError('schedule-unknown', `"${id}": its entry in the store cannot be read`);
  return new RondoError('schedule-unknown', withNearest(id, known));
}

/** Said of an entry that is to go. */
export const gone = Symbol('gone');

/**
 * Writes an entry anew from what it is now, and once more where somebody else has written in between: a deploy and an
 * operator meet here.
 *
 * @param change null leaves it as it is, `gone` removes it. Without an entry there may be one that makes no sense
 * @param assumed what it holds, most likely; it saves a look where that is right
 */
export async function updateEntry(
  broker: Broker,
  id: string,
  change: (entry: Entry | null, isThere: boolean) => Entry | typeof gone | null,
  assumed?: Entry | null,
): Promise<void> {
  let text = assumed === undefined ? ((await broker.client.hget(broker.keys.schedules, id)) ?? '') : textOf(assumed);
  for (;;) {
    const entry = change(text ? readEntry(text) : null, text !== '');
    if (!entry) return;
    const written = entry === gone ? '' : textOf(entry);
    const found = await swapScript(broker.client, [broker.keys.schedules], [id, text, written]);
    if (found === null) return;
    text = String(found);
  }
}

/** The id is the field's name. */
function textOf(entry: (Entry & { readonly id?: string }) | null): string {
  return entry ? JSON.stringify({ ...entry, id: undefined }) : '';
}

const swapScript = createScript(`
local found = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if found ~= ARGV[2] then return found end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end`);
