import { ErrorCode } from 'bullmq';
import type { Broker } from '../broker/queues.js';
import { repeatOptions } from '../broker/repeat.js';
import type { Emit } from '../jobs/events.js';
import { readChains, removeStrayRun } from './chains.js';
import { chunks } from './chunks.js';
import {
  type Change,
  ownerOf,
  type Plan,
  type PlanInput,
  plan,
  type Specification,
  type Stored,
  type Wanted,
} from './plan.js';

/** Whose schedules a process keeps, and as which release. */
export interface Deployment {
  readonly app: string;
  readonly release: string;
}

export interface ReconcileInput extends Deployment {
  readonly wanted: readonly Wanted[];
  readonly now: () => number;
  readonly removeMany?: boolean;
  /** Asked between batches: false where another process may have taken the lead meanwhile. */
  readonly mayGoOn?: () => boolean;
}

export interface Reconciled extends Plan {
  /** Changes that Redis refused; they are tried again at the next turn. */
  readonly failed: readonly { readonly id: string; readonly error: unknown }[];
}

/** What a reconcile would do now. Reads only. */
export async function planNow(broker: Broker, input: ReconcileInput): Promise<Plan> {
  const state = await readState(broker, input.wanted);
  return plan({ ...input, ...state, now: input.now() });
}

/**
 * Brings Redis in line with what is wanted: compares first, and touches only what is missing, changed or
 * broken, because an upsert of an unchanged schedule deletes its run that waits.
 */
export async function reconcile(broker: Broker, input: ReconcileInput, emit: Emit): Promise<Reconciled> {
  const startedAt = performance.now();
  const state = await readState(broker, input.wanted);
  const planned = plan({ ...input, ...state, now: input.now() });
  const failed: { id: string; error: unknown }[] = [];
  for (const batch of chunks(planned.changes, 500)) {
    if (input.mayGoOn?.() === false) break;
    const results = await Promise.allSettled(batch.map((change) => apply(broker, change, input)));
    results.forEach((result, index) => {
      const change = batch[index];
      if (!change) return;
      if (result.status === 'rejected') failed.push({ id: idOf(change), error: result.reason });
      report(change, result, emit);
    });
  }
  for (const { id, reason } of planned.conflicts) emit({ type: 'schedule.conflict', schedule: id, reason });
  if (planned.refused) {
    await hold(broker, planned.refused.ids, state.stored);
    emit({ type: 'schedules.removal-refused', schedules: planned.refused.ids, owned: planned.refused.owned });
  }
  emit({
    type: 'schedules.reconciled',
    ...countByKind(planned.changes),
    unchanged: planned.unchanged,
    durationMs: Math.round(performance.now() - startedAt),
  });
  return { ...planned, failed };
}

/**
 * Every schedule that the store holds or that is wanted, and where its chain stands. All is asked for at once: it
 * decides how long a start takes with many thousands.
 */
export async function readState(
  broker: Broker,
  wanted: readonly Wanted[] = [],
): Promise<Pick<PlanInput, 'stored' | 'unreadable' | 'chains'>> {
  const reading = broker.client.hgetall(broker.keys.schedules);
  const readingChains = readChains(broker, byJob(wanted));
  readingChains.catch(() => {}); // it may fail while the store is still read

  const stored = new Map<string, Stored>();
  const unreadable = new Set<string>();
  for (const [id, text] of Object.entries(await reading)) {
    const entry = readEntry(id, text);
    if (entry) stored.set(id, entry);
    else unreadable.add(id);
  }
  // What the store alone knows, or knows of another job, is looked at where the store says.
  const jobs = new Map(wanted.map(({ id, specification }) => [id, specification.job]));
  const others = [...stored.values()].filter(({ id, specification }) => jobs.get(id) !== specification.job);
  const chains = await readingChains;
  for (const [id, chain] of await readChains(broker, byJob(others))) chains.set(id, chain);
  return { stored, unreadable, chains };
}

function byJob(schedules: readonly { id: string; specification: Specification }[]): Map<string, string[]> {
  const ids = new Map<string, string[]>();
  for (const { id, specification } of schedules) {
    const list = ids.get(specification.job);
    if (list) list.push(id);
    else ids.set(specification.job, [id]);
  }
  return ids;
}

function readEntry(id: string, text: string): Stored | null {
  try {
    const entry = JSON.parse(text) as Stored;
    const { hash, owner, specification } = entry as Partial<Stored>;
    const known = hash && owner && specification?.job && specification.timing?.kind;
    return known ? Object.assign(entry, { id }) : null;
  } catch {
    return null;
  }
}

async function apply(broker: Broker, change: Change, deployment: Deployment): Promise<void> {
  switch (change.kind) {
    case 'add':
    case 'heal':
      return put(broker, change, deployment);
    case 'change': {
      const ticksStay = change.fields.every((field) => field === 'description' || field === 'held');
      return ticksStay ? store(broker, change.wanted, deployment) : put(broker, change, deployment);
    }
    case 'remove':
      await broker.queue(change.stored.specification.job).removeJobScheduler(change.stored.id);
      await broker.client.hdel(broker.keys.schedules, change.stored.id);
  }
}

type Upsert = Exclude<Change, { kind: 'remove' }>;

/** The scheduler first: where the process dies in between, the store still shows the change as due. */
async function put(broker: Broker, { wanted, after }: Upsert, deployment: Deployment): Promise<void> {
  const { id, specification } = wanted;
  const { job, timing, payload, options } = specification;
  const queue = broker.queue(job);
  const template = { name: job, data: payload, opts: options };
  const upsert = () => queue.upsertJobScheduler(id, repeatOptions(id, timing), template);
  // BullMQ answers nothing, and does nothing, where no tick is left; its types do not say so.
  const upserted: unknown = await upsert().catch(async (error: { code?: unknown }) => {
    if (error.code !== ErrorCode.SchedulerJobIdCollision || after === null) throw error;
    await removeStrayRun(broker, job, id, after);
    return upsert();
  });
  if (!upserted) await queue.removeJobScheduler(id);
  await store(broker, wanted, deployment);
}

async function store(broker: Broker, { id, specification, hash }: Wanted, { app, release }: Deployment): Promise<void> {
  const entry: Omit<Stored, 'id'> = { hash, owner: ownerOf(app), release, specification };
  await broker.client.hset(broker.keys.schedules, id, JSON.stringify(entry));
}

/** Marks schedules whose removal was refused, until they are declared again or somebody says yes. */
async function hold(broker: Broker, ids: readonly string[], stored: ReadonlyMap<string, Stored>): Promise<void> {
  for (const { id, ...entry } of ids.flatMap((it) => stored.get(it) ?? [])) {
    if (entry.held) continue;
    await broker.client.hset(broker.keys.schedules, id, JSON.stringify({ ...entry, held: true }));
  }
}

function report(change: Change, result: PromiseSettledResult<void>, emit: Emit): void {
  const schedule = idOf(change);
  const { job } = specificationOf(change);
  if (result.status === 'rejected') {
    emit({ type: 'schedule.failed', schedule, job, error: result.reason });
  } else if (change.kind === 'heal') {
    emit({ type: 'schedule.healed', schedule, job, reason: change.reason, next: change.after });
  }
}

function idOf(change: Change): string {
  return change.kind === 'remove' ? change.stored.id : change.wanted.id;
}

function specificationOf(change: Change): Specification {
  return change.kind === 'remove' ? change.stored.specification : change.wanted.specification;
}

function countByKind(changes: readonly Change[]) {
  const count = (kind: Change['kind']) => changes.filter((change) => change.kind === kind).length;
  return { added: count('add'), changed: count('change'), removed: count('remove'), healed: count('heal') };
}
