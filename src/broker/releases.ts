import type { Service } from '../lifecycle.js';
import { pairField, readPairField } from './pair-field.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';

/** A release of an app, and when processes of it were seen, in ms since the epoch by Redis's clock. */
export interface Sighting {
  readonly release: string;
  readonly firstSeen: number;
  readonly lastSeen: number;
}

interface Deployment {
  readonly app: string;
  readonly release: string;
}

/**
 * Marks, from start to stop, that a process of this release is alive. The last mark stays behind: a release that is
 * being restarted is not gone.
 */
export function createPresence({ client, keys }: Broker, { app, release }: Deployment, everyMs = 10_000): Service {
  const mark = () => markScript(client, [keys.releases], [pairField(app, release), forgetAfterMs]);
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;

  function scheduleMark(): void {
    if (stopped) return;
    // The connection tells that Redis is away; the next mark is in time.
    timer = setTimeout(() => mark().then(scheduleMark, scheduleMark), everyMs).unref();
  }

  return {
    name: 'presence',
    async start() {
      await mark();
      scheduleMark();
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

/** @returns the newest release of the app among this one and those alive within so many ms, or null where that is this one */
export async function findNewer(broker: Broker, deployment: Deployment, withinMs: number): Promise<string | null> {
  const { own, others } = await readSightings(broker, deployment, withinMs);
  const { release: found } = newest([own, ...others]);
  return found === deployment.release ? null : found;
}

/** Whether a process of another release of the app, newer or older, was alive within so many ms. */
export async function isAnotherAlive(broker: Broker, deployment: Deployment, withinMs: number): Promise<boolean> {
  return (await readSightings(broker, deployment, withinMs)).others.length > 0;
}

/**
 * By version where all of them read as one: `v1.2.3`, `1.3.0-rc.1`, `2026-11-21.2`, `41`, `v1.2.3-14-g0a1b2c3`.
 * Otherwise (git hashes) the one first seen last. All are judged by one measure, since by a mixed one each of three
 * could be older than another.
 */
export function newest(releases: readonly [Sighting, ...Sighting[]]): Sighting {
  const versions = new Map(releases.map(({ release }) => [release, readVersion(release)]));
  const byVersion = [...versions.values()].every((version) => version !== null);
  return releases.reduce((best, other) => {
    const [a, b] = [versions.get(best.release), versions.get(other.release)];
    const order = (byVersion && a && b && compareVersions(a, b)) || best.firstSeen - other.firstSeen;
    return (order || compare(best.release, other.release)) < 0 ? other : best;
  });
}

async function readSightings({ client, keys }: Broker, { app, release }: Deployment, withinMs: number) {
  const [time, fields] = (await readScript(client, [keys.releases], [])) as [string, string[]];
  const now = Number(time);
  const seen = sightingsOf(app, fields);
  const own = seen.find((it) => it.release === release) ?? { release, firstSeen: now, lastSeen: now };
  // A mark from the future was made before the server's clock was set back: whoever lives has made another since.
  const others = seen.filter((it) => it.release !== release && Math.abs(now - it.lastSeen) < withinMs);
  return { own, others };
}

/** Not seen for so long, a release is forgotten. */
const forgetAfterMs = 24 * 3_600_000;

function sightingsOf(app: string, fields: readonly string[]): Sighting[] {
  return fields.flatMap((field, index) => {
    const times = index % 2 === 0 && /^(\d+) (\d+)$/.exec(fields[index + 1] ?? '');
    const [owner, release] = times ? readPairField(field) : [];
    if (!times || owner !== app || release === undefined) return [];
    return { release, firstSeen: Number(times[1]), lastSeen: Number(times[2]) };
  });
}

interface Version {
  readonly parts: readonly number[];
  /** What precedes the version proper: `rc.1` is the word and its numbers. */
  readonly preview: { readonly word: string; readonly parts: readonly number[] } | null;
}

function readVersion(release: string): Version | null {
  const plain = release.replace(/\+.*$/, '').replace(/-g[0-9a-f]{4,40}$/, '');
  const match = /^v?(\d+(?:[._-]\d+)*)(?:-([a-z]+)[.-]?(\d+(?:[.-]\d+)*)?)?$/i.exec(plain);
  if (!match) return null;
  const [, core = '', word, numbers] = match;
  return { parts: partsOf(core), preview: word ? { word: word.toLowerCase(), parts: partsOf(numbers ?? '') } : null };
}

function partsOf(text: string): number[] {
  return text.split(/[._-]/).map(Number);
}

function compareVersions(a: Version, b: Version): number {
  const order = compareParts(a.parts, b.parts);
  if (order !== 0) return order;
  if (!a.preview || !b.preview) return Number(a.preview === null) - Number(b.preview === null);
  return compare(a.preview.word, b.preview.word) || compareParts(a.preview.parts, b.preview.parts);
}

function compareParts(a: readonly number[], b: readonly number[]): number {
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const order = compare(a[index] ?? 0, b[index] ?? 0);
    if (order !== 0) return order;
  }
  return 0;
}

function compare<Value extends string | number>(a: Value, b: Value): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** In ms, as text: Lua of the embedded server is 32-bit and would cut a number short. */
const nowLua = `
local time = redis.call('TIME')
local now = time[1] .. string.sub('000000' .. time[2], -6, -4)`;

const markScript = createScript(`${nowLua}
local first = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+) %d+$') or now
redis.call('HSET', KEYS[1], ARGV[1], first .. ' ' .. now)
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local last = string.match(all[i + 1], '^%d+ (%d+)$')
  if last and tonumber(now) - tonumber(last) > tonumber(ARGV[2]) then redis.call('HDEL', KEYS[1], all[i]) end
end`);

const readScript = createScript(`${nowLua}
return {now, redis.call('HGETALL', KEYS[1])}`);
