import type { Broker } from '../broker/queues.js';
import { createScript } from '../broker/scripts.js';
import { isRange, unpackEntry } from '../broker/tick-entry.js';
import { chunks } from './chunks.js';
import { ownerOf, type Wanted } from './plan.js';
import { byJob } from './schedules.js';
import { readStore } from './store.js';
import { type Warning, warningsOf } from './warnings.js';

/** How many entries of each ledger say how long its runs take. */
const measured = 9;

/** What there is to warn of in what an app wants, together with what others have in the same Redis. */
export async function warningsNow(
  broker: Broker,
  { app, wanted, now }: { readonly app: string; readonly wanted: readonly Wanted[]; readonly now: number },
): Promise<Warning[]> {
  const { stored } = await readStore(broker);
  const others = [...stored.values()].filter(({ owner }) => owner !== ownerOf(app));
  const declared = new Set(wanted.map(({ id }) => id));
  const all = [...wanted, ...others.filter(({ id }) => !declared.has(id))];
  const durations = await readDurations(broker, byJob(all));
  const schedules = all.map(({ id, specification }) => {
    const next = broker.ruleOf(id);
    return { id, timing: specification.timing, durations: durations.get(id) ?? [], ...(next && { next }) };
  });
  return warningsOf(schedules, now);
}

/** How long the last attempts took of the last runs that have ended, in ms, by schedule. */
async function readDurations(
  broker: Broker,
  schedules: ReadonlyMap<string, readonly string[]>,
): Promise<Map<string, number[]>> {
  const durations = new Map<string, number[]>();
  const reads = [...schedules].flatMap(([job, ids]) =>
    chunks(ids, 1_000).map(async (batch) => {
      const slot = broker.keys.queuePrefix(job);
      const answer = await lastEntriesScript(broker.client, [`${slot}:cursor`], [slot, measured, ...batch]);
      (answer as string[][]).forEach((entries, index) => {
        const id = batch[index] ?? '';
        durations.set(
          id,
          entries.flatMap((entry) => tookOf(id, entry)),
        );
      });
    }),
  );
  await Promise.all(reads);
  return durations;
}

function tookOf(schedule: string, packed: string): number[] {
  const entry = unpackEntry(schedule, packed);
  if (!entry || isRange(entry) || entry.started === undefined || entry.finished === undefined) return [];
  return [entry.finished - entry.started];
}

// A key of another type is no ledger, and must not hide the others.
const lastEntriesScript = createScript(`
local answers = {}
for i = 3, #ARGV do
  local entries = redis.pcall('ZRANGE', ARGV[1] .. ':ticks:' .. ARGV[i], -tonumber(ARGV[2]), -1)
  answers[i - 2] = entries.err and {} or entries
end
return answers`);
