import { readCursor, readSkips } from '../broker/ledger.js';
import type { Broker } from '../broker/queues.js';
import { wakeWaiting } from '../broker/turns.js';
import type { Emit } from '../jobs/events.js';
import { readChains } from './chains.js';
import { chunks } from './chunks.js';
import { removeStored, resumeSchedule } from './operations.js';
import {
  apiOwner,
  type Change,
  type Conflict,
  cannotBeRead,
  effective,
  isEnabled,
  isOver,
  ownerOf,
  type Plan,
  type PlanInput,
  plan,
  type Specification,
  type Stored,
  type Wanted,
} from './plan.js';
import { rechain } from './rechain.js';
import { isSamePause, markAsStored, repairAtRunTime } from './settle.js';
import { readStore, updateEntry } from './store.js';
import { watchTicks } from './watch.js';

/** Whose schedules a process keeps, and as which release. */
export interface Deployment {
  readonly app: string;
  readonly release: string;
}

export interface ReconcileInput extends Deployment {
  readonly wanted: readonly Wanted[];
  readonly now: () => number;
  readonly removeMany?: boolean;
  /** When all that is wanted was in line, in ms since the epoch: what is missing now Redis has lost since. */
  readonly lastInLine?: number;
  /** Asked between batches: false where another process may have taken the lead meanwhile. */
  readonly mayGoOn?: () => boolean;
  /** The first look of a process: it does without what the next one, in ten seconds, finds as well. */
  readonly isStart?: boolean;
}

export interface Reconciled extends Plan {
  /** Changes that Redis refused; they are tried again at the next turn. */
  readonly failed: readonly { readonly id: string; readonly error: unknown }[];
  /** False where another process may have taken the lead before all was done. */
  readonly finished: boolean;
  /** Schedules made at run time that want a run whenever a producer takes the lead. */
  readonly toTrigger: readonly Stored[];
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
  const state = await readState(broker, input.wanted, { ledgers: !input.isStart });
  const planned = plan({ ...input, ...state, now: input.now() });
  const mayGoOn = input.mayGoOn ?? (() => true);
  const failed: { id: string; error: unknown }[] = [];
  const idle = new Set<Change>();
  for (const batch of chunks(planned.changes, 500)) {
    if (!mayGoOn()) break;
    const results = await Promise.allSettled(batch.map((change) => apply(broker, change, input, state, emit)));
    results.forEach((result, index) => {
      const change = batch[index];
      if (!change) return;
      if (result.status === 'rejected') failed.push({ id: idOf(change), error: result.reason });
      else if (result.value === nothingToHeal) idle.add(change);
      report(change, result, emit);
    });
  }
  for (const { id, reason } of [...planned.conflicts, ...othersUnread(input, state)]) {
    emit({ type: 'schedule.conflict', schedule: id, reason });
  }
  if (planned.refused) {
    await hold(broker, planned.refused.ids, state.stored);
    emit({ type: 'schedules.removal-refused', schedules: planned.refused.ids, owned: planned.refused.owned });
  }
  const changes = planned.changes.filter((change) => !idle.has(change));
  const own = ownOf(input.app, changes, state);
  if (!input.isStart) await lookAfter(broker, own, state.chains, input.now(), mayGoOn, emit);
  emit({
    type: 'schedules.reconciled',
    ...countByKind(changes),
    unchanged: planned.unchanged + idle.size,
    durationMs: Math.round(performance.now() - startedAt),
  });
  const toTrigger = own.filter((it) => it.specification.triggerOnStart && isEnabled(it));
  return { ...planned, failed, finished: mayGoOn(), toTrigger };
}

/**
 * Puts right what is broken of schedules that are as they should be otherwise, and touches no other: those that this
 * app declares, and those that were put at run time.
 *
 * @returns ids
 */
export async function heal(
  broker: Broker,
  input: ReconcileInput,
  emit: Emit,
): Promise<{ healed: string[]; failed: Reconciled['failed'] }> {
  const state = await readState(broker, input.wanted);
  const broken = plan({ ...input, ...state, now: input.now() }).changes.filter(({ kind }) => kind === 'heal');
  const healed: string[] = [];
  const failed: { id: string; error: unknown }[] = [];
  for (const change of broken) {
    try {
      const done = await apply(broker, change, input, state, emit);
      if (done !== nothingToHeal) healed.push(idOf(change));
    } catch (error) {
      failed.push({ id: idOf(change), error });
    }
  }
  return { healed, failed };
}

/**
 * Every schedule that the store holds or that is wanted, and where its chain stands. All is asked for at once: it
 * decides how long a start takes with many thousands.
 */
export async function readState(
  broker: Broker,
  wanted: readonly Wanted[] = [],
  looking: { ledgers?: boolean } = {},
): Promise<Pick<PlanInput, 'stored' | 'unreadable' | 'chains'>> {
  const reading = readStore(broker);
  const readingChains = readChains(broker, byJob(wanted), looking);
  readingChains.catch(() => {}); // it may fail while the store is still read

  const { stored, unreadable } = await reading;
  // What the store alone knows, or knows of another job, is looked at where the store says.
  const jobs = new Map(wanted.map(({ id, specification }) => [id, specification.job]));
  const others = [...stored.values()].filter(({ id, specification }) => jobs.get(id) !== specification.job);
  const chains = await readingChains;
  for (const [id, chain] of await readChains(broker, byJob(others), looking)) chains.set(id, chain);
  return { stored, unreadable, chains };
}

/** The ids of schedules, by job. */
export function byJob(schedules: readonly { id: string; specification: Specification }[]): Map<string, string[]> {
  const ids = new Map<string, string[]>();
  for (const { id, specification } of schedules) {
    const list = ids.get(specification.job);
    if (list) list.push(id);
    else ids.set(specification.job, [id]);
  }
  return ids;
}

async function apply(
  broker: Broker,
  change: Change,
  input: ReconcileInput,
  state: State,
  emit: Emit,
): Promise<Applied> {
  const owned = state.stored.get(idOf(change));
  if (owned?.owner === apiOwner) {
    return (await repairAtRunTime(broker, owned.id, input.now(), emit)) ? change.after : nothingToHeal;
  }
  switch (change.kind) {
    case 'add':
    case 'heal':
      return put(broker, change, input, state, emit);
    case 'change': {
      const ticksStay = change.fields.every((field) => ['description', 'alerts', 'held'].includes(field));
      if (!ticksStay) return put(broker, change, input, state, emit);
      await store(broker, change.wanted, input);
      return change.after;
    }
    case 'remove':
      await removeStored(broker, change.stored, input.now(), emit);
      return null;
  }
}

/** What nobody declares, and this release cannot read: it is left alone, and not in silence. */
function othersUnread({ wanted }: ReconcileInput, { unreadable }: Pick<PlanInput, 'unreadable'>): Conflict[] {
  if (unreadable.size === 0) return [];
  const declared = new Set(wanted.map(({ id }) => id));
  return [...unreadable].filter((id) => !declared.has(id)).map((id) => ({ id, reason: cannotBeRead }));
}

/** The schedules that were not touched and stand still: those of the app, and those of no app. */
function ownOf(app: string, changes: readonly Change[], { stored }: State): Stored[] {
  const owners = [ownerOf(app), apiOwner];
  const touched = new Set(changes.map(idOf));
  return [...stored.values()].filter(
    ({ id, owner, unsettled }) => owners.includes(owner) && !touched.has(id) && !unsettled,
  );
}

/** What the ledgers of schedules want. */
async function lookAfter(
  broker: Broker,
  own: readonly Stored[],
  chains: State['chains'],
  now: number,
  mayGoOn: () => boolean,
  emit: Emit,
): Promise<void> {
  await keepPauses(broker, own, chains, now, emit);
  await watchTicks(broker, { schedules: own, chains, now, mayGoOn }, emit);
  const inTurn = own.filter(({ specification }) => specification.options.overlap);
  for (const [job, ids] of byJob(inTurn)) {
    for (const batch of chunks(ids, 1_000)) await wakeWaiting(broker, job, batch);
  }
}

/**
 * Pauses end by themselves, and outlast a ledger that was begun anew. What was read may be old by now: an operator's
 * word since then counts.
 */
async function keepPauses(
  broker: Broker,
  schedules: readonly Stored[],
  chains: State['chains'],
  now: number,
  emit: Emit,
): Promise<void> {
  for (const { id, specification, pause = null } of schedules) {
    const cursor = chains.get(id)?.cursor;
    const of = { job: specification.job, schedule: id };
    try {
      if (pause?.until != null && pause.until <= now) await resumeSchedule(broker, id, now, emit);
      else if (cursor && !isSamePause(pause, cursor.pause)) await markAsStored(broker, of);
    } catch (error) {
      emit({ type: 'schedule.failed', ...of, error }); // its own trouble: the others are looked after
    }
  }
}

/** Of a chain that only looked broken: its schedule is over. */
const nothingToHeal = 'nothing to heal';
/** When the schedule's next run is due, in ms since the epoch; null where there is none to tell of. */
type Applied = number | null | typeof nothingToHeal;
type Upsert = Exclude<Change, { kind: 'remove' }>;
type State = Pick<PlanInput, 'stored' | 'chains'>;

/**
 * The store last: where the process dies in between, it still shows the change as due.
 */
async function put(broker: Broker, change: Upsert, input: ReconcileInput, state: State, emit: Emit): Promise<Applied> {
  const { wanted } = change;
  const { id, next: rule } = wanted;
  const specification = effective(wanted.specification);
  const of = { job: specification.job, schedule: id };
  const now = input.now();
  // The first look has read no ledgers.
  const isHeal = change.kind === 'heal';
  if (isHeal && input.isStart && isOver(await readCursor(broker, of), specification, now)) return nothingToHeal;
  const edited = state.chains.get(id)?.edited ?? false;
  const lost = change.kind === 'add' && input.lastInLine !== undefined && { lostSince: input.lastInLine };
  const what = { id, specification, rule, edited, now, next: change.after, ...lost };
  let before = effective(state.stored.get(id)?.specification ?? specification);
  for (;;) {
    const skips = await readSkips(broker, of);
    const next = await rechain(broker, { ...what, before }, emit);
    await store(broker, wanted, input, change.kind === 'add');
    // Who cancelled its next run meanwhile may have gone by what the store said before.
    if ((await readSkips(broker, of)) === skips) return next;
    before = specification;
  }
}

/** Keeps what an operator has said of the schedule. */
async function store(broker: Broker, wanted: Wanted, { app, release }: Deployment, isNew = false): Promise<void> {
  const { id, specification, hash } = wanted;
  const entry = { hash, owner: ownerOf(app), release, specification };
  await updateEntry(
    broker,
    id,
    (before) => ({ ...entry, ...(before?.pause && { pause: before.pause }) }),
    isNew ? null : undefined,
  );
}

/** Marks schedules whose removal was refused, until they are declared again or somebody says yes. */
async function hold(broker: Broker, ids: readonly string[], stored: ReadonlyMap<string, Stored>): Promise<void> {
  for (const id of ids.filter((it) => !stored.get(it)?.held)) {
    await updateEntry(broker, id, (entry) => entry && { ...entry, held: true });
  }
}

function report(change: Change, result: PromiseSettledResult<Applied>, emit: Emit): void {
  const schedule = idOf(change);
  const { job } = specificationOf(change);
  if (result.status === 'rejected') {
    emit({ type: 'schedule.failed', schedule, job, error: result.reason });
  } else if (change.kind === 'heal' && result.value !== nothingToHeal) {
    emit({ type: 'schedule.healed', schedule, job, reason: change.reason, next: result.value });
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
