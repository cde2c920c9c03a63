import { hash, randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { deflateRaw, inflateRaw } from 'node:zlib';
import type { Broker } from '../broker/queues.js';
import { createScript } from '../broker/scripts.js';
import { type Ticket, ticketMs } from './enqueue.js';

/** What somebody asks for under a key of theirs. */
export interface Asked {
  /** Whose key it is: two callers may use the same one. */
  readonly owner: string;
  readonly key: string;
  /** All that makes the request what it is. */
  readonly request: string;
}

/** An answer as it was given, for whoever asks again. */
export interface Answer {
  readonly status: number;
  readonly location: string | null;
  readonly body: string;
}

export type Claimed =
  | { readonly type: 'mine'; readonly claim: Claim }
  | { readonly type: 'answered'; readonly answer: Answer }
  /** Somebody is at it. */
  | { readonly type: 'busy' }
  /** The key stands for another request. */
  | { readonly type: 'mismatch' };

export interface Claim {
  readonly ticket: Ticket;
  readonly record: string;
  readonly holder: string;
}

/** For how long, in ms, who has claimed a request is believed to be at it. Beyond that somebody else takes it over. */
export const leaseMs = 2_000;

/**
 * Takes a request on, unless it was answered before, or somebody is at it. What died half-way is taken on again, with
 * the same ids for its runs. Remembered for 24 h.
 */
export async function claim(broker: Broker, { owner, key, request }: Asked): Promise<Claimed> {
  const record = broker.keys.idempotency(digestOf(JSON.stringify([owner, key])));
  const holder = randomUUID();
  const given = [digestOf(request), holder.replaceAll('-', ''), holder, leaseMs, ticketMs];
  const [type, word = ''] = (await claimScript(broker.client, [record], given)) as [string, string?];
  switch (type) {
    case 'answered':
      return { type, answer: await unpack(word) };
    case 'busy':
    case 'mismatch':
      return { type };
    default: {
      const idOf = (index: number) => `idem:${word}:${index}`;
      return { type: 'mine', claim: { record, holder, ticket: { idOf, again: type === 'again' } } };
    }
  }
}

/** Keeps the answer. Where two have come to one, the first stands; where the record is gone, none: nobody would forget it. */
export async function keep(broker: Broker, { record }: Claim, answer: Answer): Promise<void> {
  await keepScript(broker.client, [record], [await pack(answer)]);
}

/** Nothing came of it, and nothing was added: the key is free again, unless somebody has taken the request over. */
export async function forget(broker: Broker, { record, holder, ticket }: Claim): Promise<void> {
  if (!ticket.again) await forgetScript(broker.client, [record], [holder]);
}

/**
 * Gives records an end that have none, which a hand has made or restored: they would stand for ever.
 *
 * @returns how many; none where the server lets us look at no keys, which nothing else wants
 */
export async function endEndless({ client, keys }: Broker, signal: AbortSignal): Promise<number> {
  let [cursor, ended] = ['0', 0];
  do {
    signal.throwIfAborted();
    // The key only says which server of a cluster has them.
    const args = [cursor, keys.idempotency('*'), ticketMs];
    const [next, count] = (await endScript(client, [keys.idempotency('')], args).catch(noneSeen)) as [string, number];
    ended += count;
    cursor = next;
  } while (cursor !== '0');
  return ended;
}

/** Ids by the thousand repeat themselves. */
const longBody = 2_000;

async function pack(answer: Answer): Promise<string> {
  const { body, ...rest } = answer;
  if (body.length <= longBody) return JSON.stringify(answer);
  return JSON.stringify({ ...rest, long: (await promisify(deflateRaw)(body)).toString('base64') });
}

async function unpack(text: string): Promise<Answer> {
  const { long, ...answer } = JSON.parse(text) as Answer & { readonly long?: string };
  if (long === undefined) return answer;
  return { ...answer, body: (await promisify(inflateRaw)(Buffer.from(long, 'base64'))).toString() };
}

function digestOf(text: string): string {
  return hash('sha256', text, 'base64url');
}

const claimScript = createScript(`
local record = KEYS[1]
local request, ticket, holder, lease, remembered = unpack(ARGV)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local known, its, busyUntil, answer = unpack(redis.call('HMGET', record, 'request', 'ticket', 'until', 'answer'))
if known and known ~= request then return { 'mismatch' } end
if answer then return { 'answered', answer } end
if known and now < tonumber(busyUntil) then return { 'busy' } end
its = its or ticket
local free = string.format('%.0f', now + tonumber(lease))
redis.call('HSET', record, 'request', request, 'ticket', its, 'holder', holder, 'until', free)
redis.call('PEXPIRE', record, remembered)
return { known and 'again' or 'new', its }`);

function noneSeen(error: unknown): [string, number] {
  if (/can't run this command|ACL failure|NOPERM/.test(String(error))) return ['0', 0];
  throw error;
}

const keepScript = createScript(`
if redis.call('HEXISTS', KEYS[1], 'request') == 1 then redis.call('HSETNX', KEYS[1], 'answer', ARGV[1]) end`);

const endScript = createScript(`
local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', 1000)
local ended = 0
for _, record in ipairs(found[2]) do
  if redis.call('PTTL', record) == -1 then ended = ended + redis.call('PEXPIRE', record, ARGV[3]) end
end
return { found[1], ended }`);

const forgetScript = createScript(`
if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then redis.call('DEL', KEYS[1]) end`);
