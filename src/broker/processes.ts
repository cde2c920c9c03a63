import { z } from 'zod';
import { type Service, until } from '../lifecycle.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';

/** What a process tells of itself. Times in ms since the epoch, by its own clock. */
export type ProcessReport = z.output<typeof reportSchema>;
export type RunningRun = ProcessReport['runs'][number];

/** What it executes. */
export type Running = Pick<ProcessReport, 'running' | 'runs'>;

/** A report as it was found, and when it was written, by Redis's clock. */
export interface FoundReport {
  readonly report: ProcessReport;
  readonly seenAt: number;
}

export interface FoundProcesses {
  readonly found: readonly FoundReport[];
  /** Ids whose report makes no sense to this release. */
  readonly unreadable: readonly string[];
  /** How many more there are than are read. */
  readonly left: number;
  /** Redis's clock. */
  readonly now: number;
}

/** At most so many processes are read, and so much is told of each. */
export const mostProcesses = 500;
export const mostRuns = 100;
export const mostJobs = 1_000;
export const mostLetters = 1_000;
const mostBytes = 512 * 1_024;

const name = z.string().max(300);
const count = z.int().min(0);
const time = z.int().min(0).max(8_640_000_000_000_000);

const reportSchema = z.object({
  id: z.string().regex(/^[0-9a-f]{12}$/),
  host: name,
  pid: count,
  roles: z.array(name).max(10),
  app: name,
  release: name,
  /** Of Rondo. */
  version: name,
  stopping: z.boolean(),
  startedAt: time,
  /** When this was told. */
  at: time,
  /** What it takes runs of. */
  jobs: z.array(z.object({ name, concurrency: count, timeoutMs: count })).max(mostJobs),
  /** How many it executes; `runs` are the oldest of them. */
  running: count,
  runs: z
    .array(
      z.object({
        job: name,
        run: z.string().max(mostLetters),
        attempt: count,
        since: time,
        schedule: name.optional(),
        tick: time.optional(),
      }),
    )
    .max(mostRuns),
  /** The 99th percentile, since the report before. */
  loopDelayMs: z.number().min(0),
  memory: z.object({ rss: count, heapUsed: count, heapTotal: count }),
});

export interface SignOptions {
  readonly everyMs?: number;
  /** How long a process that told nothing counts as alive. */
  readonly silentMs?: number;
}

/** Tells, from start to stop, what a process is and does. What a killed one told goes after `silentMs`. */
export function createSignOfLife(
  { client, keys }: Broker,
  report: () => ProcessReport,
  { everyMs = 5_000, silentMs = 30_000 }: SignOptions = {},
): Service {
  let timer: NodeJS.Timeout | undefined;
  let telling: Promise<void> = Promise.resolve();
  let id: string | undefined;
  let stopped = false;

  async function tell(): Promise<void> {
    const told = report();
    id = told.id;
    await tellScript(client, [keys.processes, keys.process(id)], [id, JSON.stringify(told), silentMs]);
  }

  function scheduleNext(): void {
    if (stopped) return;
    timer = setTimeout(() => {
      // The connection tells that Redis is away; the next report is in time.
      telling = tell().then(scheduleNext, scheduleNext);
    }, everyMs).unref();
  }

  return {
    name: 'sign of life',
    async start() {
      await tell();
      scheduleNext();
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      const forgotten = telling.then(() => id && forgetScript(client, [keys.processes, keys.process(id)], [id]));
      // A connection may wait for Redis to come back; what was told goes by itself.
      await Promise.race([forgotten.catch(() => {}), until(Date.now() + forgetMs)]);
    },
  };
}

/** In ms. */
const forgetMs = 1_000;

/** Every process that is alive, those that told something last first. */
export async function readProcesses({ client, keys }: Broker): Promise<FoundProcesses> {
  const args = [keys.process(''), mostProcesses, mostBytes];
  const [now, left, ...rows] = (await readScript(client, [keys.processes], args)) as [string, number, ...string[]];
  const found: FoundReport[] = [];
  const unreadable: string[] = [];
  for (let index = 0; index < rows.length; index += 3) {
    const [id = '', seenAt = '', text = ''] = rows.slice(index, index + 3);
    const report = readReport(text);
    const seen = time.safeParse(Math.round(Number(seenAt))).data;
    if (report?.id === id && seen !== undefined) found.push({ report, seenAt: seen });
    else unreadable.push(id.slice(0, 100));
  }
  return { found, unreadable, left: Number(left), now: Number(now) };
}

function readReport(text: string): ProcessReport | null {
  try {
    return reportSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

/** In ms, as text: Lua of the embedded server is 32-bit and would cut a number short. */
const nowLua = `
local time = redis.call('TIME')
local now = time[1] .. string.sub('000000' .. time[2], -6, -4)`;

// What a hand has put in their place is no loss: it is told anew every few seconds.
const tellScript = createScript(`${nowLua}
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', tonumber(now) - tonumber(ARGV[3])))
redis.call('PEXPIRE', KEYS[1], ARGV[3])`);

const forgetScript = createScript(`
redis.call('DEL', KEYS[2])
if redis.call('TYPE', KEYS[1]).ok == 'zset' then redis.call('ZREM', KEYS[1], ARGV[1]) end`);

// A report is gone before its place in the list is. One that is no text, or too long, is read as nothing.
const readScript = createScript(`${nowLua}
local answer = {now, 0}
local ids = redis.pcall('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1, 'WITHSCORES')
if ids.err then return answer end
answer[2] = math.max(0, redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[2]))
for i = 1, #ids, 2 do
  local key = ARGV[1] .. ids[i]
  if redis.call('EXISTS', key) == 1 then
    local size = redis.pcall('STRLEN', key)
    local text = type(size) == 'number' and size <= tonumber(ARGV[3]) and redis.call('GET', key) or ''
    answer[#answer + 1] = ids[i]
    answer[#answer + 1] = ids[i + 1]
    answer[#answer + 1] = text
  end
end
return answer`);
