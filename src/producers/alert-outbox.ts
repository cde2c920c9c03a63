import { randomUUID } from 'node:crypto';
import type { Broker } from '../broker/queues.js';
import { createScript } from '../broker/scripts.js';
import { type AlertMessage, alertMessageSchema } from '../jobs/catalog/alert-message.js';
import type { JobDefinition } from '../jobs/define-job.js';
import { isoTime } from '../jobs/words.js';
import type { AlertChange, AlertState } from './alert-state.js';
import { enqueueRun } from './enqueue.js';

export type AlertChannel = AlertMessage['channel'];

/** A message lists so many alerts and counts the rest: a thousand schedules may break at once. */
const mostListed = 50;

/** What the store remembers of all alerts, and when producers of an app looked last, in ms since the epoch. */
export async function readAlerts(
  { client, keys }: Broker,
  app: string,
): Promise<{ states: Map<string, AlertState>; texts: Map<string, string>; lookedAt: number | null }> {
  const fields = await client.hgetall(keys.alerts.states);
  const looked = Number(fields[lookedField(app)]);
  const states = new Map<string, AlertState>();
  const texts = new Map<string, string>();
  for (const [field, text] of Object.entries(fields)) {
    if (field.startsWith('looked ')) continue;
    texts.set(field, text);
    const state = readState(text);
    if (state) states.set(field, state);
  }
  return { states, texts, lookedAt: looked > 0 ? looked : null };
}

/**
 * Writes what has changed, and in the same step what is to be sent of it: whoever dies afterwards, another sends it.
 *
 * @param texts what stood there when it was decided
 * @returns false where another producer was quicker; then nothing is written
 */
export async function commitAlerts(
  { client, keys }: Broker,
  changes: readonly AlertChange[],
  { app, now, channels, texts }: { app: string; now: number; channels: readonly AlertChannel[]; texts: Texts },
): Promise<boolean> {
  const swaps = changes.flatMap(({ key, after }) => [key, texts.get(key) ?? '', after ? JSON.stringify(after) : '']);
  const messages = (['started', 'ended'] as const).flatMap((event) =>
    messagesOf(changes, event, { app, now, channels }),
  );
  const sent = messages.flatMap((message) => [fieldOf(message), JSON.stringify(message)]);
  const args = [lookedField(app), now, changes.length, ...swaps, ...sent];
  return (await commitScript(client, [keys.alerts.states, keys.alerts.outbox], args)) === 1;
}

/**
 * Makes runs of what is to be sent, each under an id of its own: one that was added before its line was taken away is
 * not added again.
 *
 * @param onAdded told between the two
 */
export async function flushOutbox(broker: Broker, job: JobDefinition, onAdded: () => void = () => {}): Promise<void> {
  const { outbox } = broker.keys.alerts;
  for (const [field, text] of Object.entries(await broker.client.hgetall(outbox))) {
    const message = readMessage(text);
    if (message) {
      const ticket = { idOf: () => `alert:${message.id}:${message.channel}`, again: true };
      await enqueueRun(broker, job, { payload: message, options: {} }, ticket);
      onAdded();
    }
    await broker.client.hdel(outbox, field);
  }
}

type Texts = ReadonlyMap<string, string>;

function messagesOf(
  changes: readonly AlertChange[],
  event: 'started' | 'ended',
  { app, now, channels }: { app: string; now: number; channels: readonly AlertChannel[] },
): AlertMessage[] {
  const told = changes.filter(({ tell }) => tell === event);
  if (told.length === 0) return [];
  const alerts = told.slice(0, mostListed).flatMap(({ before, after, text }) => {
    const state = after ?? before;
    if (!state) return [];
    const { rule, job, schedule, since } = state;
    return [{ rule, job, schedule, since: isoTime(since), text }];
  });
  const id = randomUUID();
  const more = told.length - alerts.length;
  return channels.map((channel) => ({ id, channel, event: `alert.${event}`, app, at: isoTime(now), alerts, more }));
}

function fieldOf({ id, channel }: AlertMessage): string {
  return `${id} ${channel}`;
}

function lookedField(app: string): string {
  return `looked ${app}`;
}

function readState(text: string): AlertState | null {
  try {
    const state = JSON.parse(text) as AlertState;
    const sound = typeof state.rule === 'string' && typeof state.job === 'string' && typeof state.app === 'string';
    return sound && Number.isFinite(state.since) && Number.isFinite(state.mark) ? state : null;
  } catch {
    return null; // a hand has been at it: it is written anew
  }
}

function readMessage(text: string): AlertMessage | null {
  try {
    return alertMessageSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

const commitScript = createScript(`
local count = tonumber(ARGV[3])
for i = 4, 3 + 3 * count, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then return 0 end
end
for i = 4, 3 + 3 * count, 3 do
  if ARGV[i + 2] == '' then redis.call('HDEL', KEYS[1], ARGV[i]) else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2]) end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
for i = 4 + 3 * count, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1`);
