import type { Broker } from '../broker/queues.js';
import { createScript } from '../broker/scripts.js';
import { isRange, unpackEntry } from '../broker/tick-entry.js';
import { chunks } from './chunks.js';

/** How many entries of each ledger say how long its runs take. */
const measured = 9;
/** And how many of a job's runs that have completed last. */
const measuredOfJob = 49;

/** How long the last attempts took of the last runs that have ended, in ms, by schedule. */
export async function readDurations(
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

/** The same of jobs, whichever way their runs came, by job. */
export async function readJobDurations(broker: Broker, jobs: readonly string[]): Promise<Map<string, number[]>> {
  const reads = jobs.map(async (job): Promise<[string, number[]]> => {
    const completed = `${broker.keys.queuePrefix(job)}:${job}:completed`;
    const base = completed.slice(0, -'completed'.length);
    const answer = (await lastRunsScript(broker.client, [completed], [base, measuredOfJob])) as (string | null)[];
    const times = answer.map((text) => Number(text || Number.NaN));
    const took = times.flatMap((begun, index) => (index % 2 === 0 ? [(times[index + 1] ?? Number.NaN) - begun] : []));
    return [job, took.filter((ms) => ms >= 0)];
  });
  return new Map(await Promise.all(reads));
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

const lastRunsScript = createScript(`
local ids = redis.pcall('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1)
if ids.err then return {} end
local answer = {}
for _, id in ipairs(ids) do
  local times = redis.pcall('HMGET', ARGV[1] .. id, 'processedOn', 'finishedOn')
  answer[#answer + 1] = not times.err and times[1] or ''
  answer[#answer + 1] = not times.err and times[2] or ''
end
return answer`);
