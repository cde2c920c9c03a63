import type { Broker } from '../broker/queues.js';
import type { TickEntry } from '../broker/tick-entry.js';
import { alertRulesOf } from '../jobs/alerts.js';
import { alertJobName } from '../jobs/catalog/alert.js';
import type { JobDefinition } from '../jobs/define-job.js';
import type { Emit } from '../jobs/events.js';
import type { Registry } from '../jobs/registry.js';
import { type QueueFacts, readQueues, readTails } from './alert-facts.js';
import { type AlertChannel, commitAlerts, flushOutbox, readAlerts } from './alert-outbox.js';
import {
  brokenHoldMs,
  endsBadly,
  type History,
  historyOf,
  type Reading,
  readingsOfJob,
  readingsOfSchedule,
  type ScheduleFacts,
} from './alert-rules.js';
import { type AlertState, decide, keyOf } from './alert-state.js';
import { breather } from './breather.js';
import { apiOwner, type Chain, isEnabled, ownerOf, type Stored, type Wanted, wantedOf } from './plan.js';
import { judge } from './schedule-health.js';
import { byJob, type Deployment, readState } from './schedules.js';
import { isLeaving } from './settle.js';

export interface AlertInput extends Deployment {
  readonly broker: Broker;
  readonly registry: Registry;
  /** Where what happens is sent; where there is none, nothing is looked at. */
  readonly channels: readonly AlertChannel[];
  readonly emit: Emit;
  readonly now: () => number;
  /** Told on the way from a decision to its runs. */
  readonly onStep?: (step: 'noted' | 'added') => void;
}

/** What was read of a ledger, and where that stood. */
interface Known {
  readonly stands: string | null;
  readonly history: History | null;
}

/**
 * Finds what starts and ends, from what the store holds: ledgers, queues, chains. What is known of each alert is in Redis;
 * what is kept here only saves reading, and says for how long something that has no time of its own has been so.
 */
export function createAlertWatch(input: AlertInput) {
  const { broker, registry, app, channels, emit, now, onStep = () => {} } = input;
  const sender = registry.find(alertJobName);
  const wanted = wantedOf(registry).filter(isEnabled);
  const jobs = registry.jobs.filter(({ enabled, name }) => enabled && name !== alertJobName);
  const known = new Map<string, Known>();
  const workerSeen = new Map<string, number>();
  const brokenSince = new Map<string, number>();
  const seen = new Map<string, number>();
  let lookedAt: number | null = null;

  /** One look: what has changed is written, and sent. */
  async function look(): Promise<void> {
    if (!sender?.enabled || channels.length === 0) return;
    await flushOutbox(broker, sender, () => onStep('added'));
    const at = now();
    const names = jobs.map(({ name }) => name);
    const [state, alerts, queues] = await Promise.all([
      readState(broker, wanted),
      readAlerts(broker, app),
      readQueues(broker, names, at),
    ]);
    const readings = [
      ...(await readingsOfSchedules(state, queues, alerts.states, at)),
      ...jobs.flatMap((job) => ofJob(job, queues.get(job.name), alerts.states, at)),
    ];
    if (alerts.lookedAt !== lookedAt) seen.clear();
    const changes = decide(alerts.states, readings, { app, now: at, lookedAt: alerts.lookedAt, seen });
    if (!(await commitAlerts(broker, changes, { app, now: at, channels, texts: alerts.texts }))) return;
    lookedAt = at;
    noteSeen(readings);
    onStep('noted');
    for (const { before, after, tell, text } of changes) {
      const { rule, job, schedule } = (after ?? before) as AlertState;
      if (tell) emit({ type: `alert.${tell}`, rule, job, ...(schedule !== null && { schedule }), reason: text });
    }
    await flushOutbox(broker, sender, () => onStep('added'));
  }

  function noteSeen(readings: readonly Reading[]): void {
    for (const reading of readings) {
      const key = keyOf(reading);
      if (reading.byMark) seen.set(key, Math.max(reading.mark, seen.get(key) ?? 0));
    }
  }

  async function readingsOfSchedules(
    { stored, unreadable, chains }: Awaited<ReturnType<typeof readState>>,
    queues: ReadonlyMap<string, QueueFacts>,
    states: ReadonlyMap<string, AlertState>,
    at: number,
  ): Promise<Reading[]> {
    const owners = [ownerOf(app), apiOwner];
    const own = [...stored.values()].filter(
      (it) =>
        owners.includes(it.owner) && !isLeaving(it) && isEnabled(it) && registry.find(it.specification.job)?.enabled,
    );
    await readHistories(own, chains, at);
    const found: Reading[] = [];
    const breathe = breather();
    for (const it of own) {
      const facts = factsOf(it, chains.get(it.id), queues.get(it.specification.job), states, at);
      if (facts) found.push(...readingsOfSchedule(facts, at));
      await breathe();
    }
    const missing = wanted.flatMap((it) => {
      const why = whyNotOurs(it, stored.get(it.id), unreadable, owners);
      return why ? readingsOfSchedule(factsOfMissing(it, why, states, at), at) : [];
    });
    return [...found, ...missing];
  }

  /** Only of ledgers that have moved since the last look, that have something open, or that end badly. */
  async function readHistories(own: readonly Stored[], chains: ReadonlyMap<string, Chain>, at: number): Promise<void> {
    const moved = own.filter(({ id }) => {
      const [before, stands] = [known.get(id), standsAt(chains.get(id))];
      return stands === null || !before?.history || before.stands !== stands || endsBadly(before.history);
    });
    const breathe = breather();
    for (const [job, ids] of byJob(moved)) {
      const tails = await readTails(broker, job, ids);
      for (const id of ids) {
        keep(id, chains.get(id), tails.get(id) ?? null, at);
        await breathe();
      }
    }
    const ids = new Set(own.map(({ id }) => id));
    for (const id of known.keys()) if (!ids.has(id)) known.delete(id);
  }

  function keep(id: string, chain: Chain | undefined, entries: readonly TickEntry[] | null, at: number): void {
    const before = known.get(id)?.history;
    const history = entries && historyOf(entries, at, before === undefined ? undefined : (before?.missed ?? null));
    known.set(id, { stands: standsAt(chain), history });
  }

  function factsOf(
    stored: Stored,
    chain: Chain | undefined,
    queue: QueueFacts | undefined,
    states: ReadonlyMap<string, AlertState>,
    at: number,
  ): ScheduleFacts | null {
    const { id, specification } = stored;
    const job = registry.find(specification.job);
    if (!job) return null;
    const history = known.get(id)?.history ?? null;
    const { health, why = 'its ledger makes no sense' } = healthOf(stored, chain, history, at);
    const isBroken = health === 'broken' || health === 'ledger unreadable';
    const isStopped = health === 'paused' || health === 'disabled' || queue?.paused === true;
    return {
      job: job.name,
      schedule: id,
      rules: alertRulesOf(job.alerts, specification.alerts),
      history: history ?? nothingKnown,
      active: queue?.active.get(id) ?? [],
      waitingSince: isStopped ? null : dueSince(chain, at),
      lateAfter: specification.options.lateAfter ?? null,
      broken: brokenFor(job.name, id, isBroken ? why : null, states, at),
    };
  }

  function healthOf(stored: Stored, chain: Chain | undefined, history: History | null, at: number) {
    if (!history) return { health: 'ledger unreadable' as const };
    try {
      return judge(broker, stored, chain, undefined, at);
    } catch (error) {
      return { health: 'broken' as const, why: `its times make no sense: ${String(error)}` };
    }
  }

  function factsOfMissing(
    { id, specification: { job: name } }: Wanted,
    why: string,
    states: ReadonlyMap<string, AlertState>,
    at: number,
  ): ScheduleFacts {
    const job = registry.get(name);
    const rules = alertRulesOf(job.alerts, registry.findSchedule(id)?.schedule.alerts);
    const nothing = { history: nothingKnown, active: [], waitingSince: null, lateAfter: null };
    return { job: name, schedule: id, rules, ...nothing, broken: brokenFor(name, id, why, states, at) };
  }

  function brokenFor(
    job: string,
    schedule: string,
    why: string | null,
    states: ReadonlyMap<string, AlertState>,
    at: number,
  ): ScheduleFacts['broken'] {
    if (why === null) {
      brokenSince.delete(schedule);
      return null;
    }
    // Another process may have told of it, and held back for as long as that takes.
    const told = states.get(keyOf({ rule: 'broken', job, schedule }));
    const since = brokenSince.get(schedule) ?? (told?.on ? told.since - brokenHoldMs : at);
    brokenSince.set(schedule, since);
    return { why, forMs: at - since };
  }

  function ofJob(
    { name, alerts: rules }: JobDefinition,
    queue: QueueFacts | undefined,
    states: ReadonlyMap<string, AlertState>,
    at: number,
  ): Reading[] {
    if (!queue) return [];
    const told = states.get(keyOf({ rule: 'noWorker', job: name, schedule: null }));
    const first = told?.on ? told.since - (rules.noWorker ?? 0) : at;
    const seen = queue.hasWorker ? at : (workerSeen.get(name) ?? first);
    workerSeen.set(name, seen);
    const { history, oldest, active } = queue;
    const facts = { job: name, rules, history, oldest, active: active.get(null) ?? [], noWorkerForMs: at - seen };
    return readingsOfJob(facts, at);
  }

  return {
    look,
    /** Looks for workers: their marks come and go every few seconds, and one look may meet none of a worker that lives. */
    async sample(): Promise<void> {
      const at = now();
      const unseen = jobs.filter(({ name }) => at - (workerSeen.get(name) ?? 0) > sampleMs);
      const marks = unseen.map(({ name }) => broker.client.exists(broker.queue(name).toKey('stalled-check')));
      (await Promise.all(marks)).forEach((found, index) => {
        if (found === 1) workerSeen.set(unseen[index]?.name ?? '', at);
      });
    },
  };
}

/** How often, in ms, the store is looked at. */
const lookEveryMs = 10_000;
const sampleMs = 8_000;

/** Looks while its process leads, in nobody's way: at most a tenth of the time goes into it. */
export function createAlertKeeper(input: AlertInput, mayGoOn: () => boolean) {
  const watch = createAlertWatch(input);
  let lookAt = 0;
  let underWay: Promise<void> | null = null;

  async function turn(): Promise<void> {
    await watch.sample();
    const startedAt = performance.now();
    if (startedAt < lookAt || !mayGoOn()) return;
    await watch.look();
    lookAt = performance.now() + Math.max(lookEveryMs, 10 * (performance.now() - startedAt));
  }

  return {
    /** Called at every turn of the producer in the lead. */
    look(): void {
      if (input.channels.length === 0 || underWay) return;
      underWay = turn()
        .catch((error: unknown) => {
          lookAt = performance.now() + lookEveryMs;
          input.emit({ type: 'alerts.failed', error });
        })
        .finally(() => {
          underWay = null;
        });
    },
    async stop(): Promise<void> {
      await underWay;
    },
  };
}

const nothingKnown: History = { ended: [], missed: null, taken: null, usualMs: null };

/**
 * Equal where no tick has got an entry; null where one may have changed: what is open ends with the cursor where it is.
 * What has ended may begin anew, and end again, between two looks.
 */
function standsAt(chain: Chain | undefined): string | null {
  return chain?.claims || !chain?.cursor ? null : JSON.stringify([chain.cursor.at, chain.cursor.next]);
}

/** When the next run was due, where that is past and no worker has taken it. */
function dueSince(chain: Chain | undefined, at: number): number | null {
  const waits = chain?.iteration === 'delayed' || chain?.iteration === 'queued';
  return waits && chain.next !== null && chain.next <= at ? chain.next : null;
}

function whyNotOurs(
  { id, specification }: Wanted,
  stored: Stored | undefined,
  unreadable: ReadonlySet<string>,
  owners: readonly string[],
): string | null {
  if (unreadable.has(id)) return 'its entry in the store cannot be read';
  if (!stored) return 'it is not in Redis';
  if (!owners.includes(stored.owner)) return `it belongs to ${stored.owner}`;
  const { job } = stored.specification;
  return job === specification.job ? null : `it is a schedule of the job ${job}`;
}
