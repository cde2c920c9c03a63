import { hash } from 'node:crypto';
import type { Cursor, Pause } from '../broker/ledger-format.js';
import { type RunOptions, runOptions, tickOptions } from '../broker/queues.js';
import type { OwnAlertRules } from '../jobs/alerts.js';
import type { MisfirePolicy } from '../jobs/misfire.js';
import type { Registry } from '../jobs/registry.js';
import type { NextTick } from '../jobs/schedule.js';
import { nextTick, offsetOf, type Timing } from '../jobs/schedule.js';

/** What is wanted of a schedule, in plain JSON: what the store keeps and the hash covers. */
export interface Specification {
  readonly job: string;
  readonly description: string;
  readonly timing: Timing;
  readonly policy: MisfirePolicy;
  readonly payload: unknown;
  readonly options: RunOptions;
  /** What it says itself of alerts; the rest is its job's. */
  readonly alerts?: OwnAlertRules;
  /** It is listed, and has no ticks. */
  readonly enabled?: false;
  /** Of one made at run time: also start a run whenever a producer takes the lead. */
  readonly triggerOnStart?: true;
}

export interface Wanted {
  readonly id: string;
  readonly specification: Specification;
  readonly hash: string;
  readonly next?: NextTick;
}

/** A schedule as the store holds it. Owner is `code:<app>` or `api`. */
export interface Stored {
  readonly id: string;
  readonly specification: Specification;
  readonly hash: string;
  readonly owner: string;
  readonly release: string;
  /** It is to be removed or disabled, which was refused once and waits for somebody's word. */
  readonly held?: true;
  readonly pause?: PauseNote;
  /** Who put it at run time, and when, in ms since the epoch. */
  readonly put?: { readonly by: string; readonly at: number };
  readonly unsettled?: Unsettled;
}

/** A change at run time that is under way, or was left half done by a process that died. */
export interface Unsettled {
  /** In ms since the epoch. */
  readonly since: number;
  /** What ledger and chain went by before; null where there were none. */
  readonly before: Specification | null;
  /** The schedule is to go. */
  readonly removal?: true;
}

/** Who paused a schedule, until when, and why. Times in ms since the epoch. */
export interface PauseNote extends Pause {
  readonly by: string;
  readonly note: string;
}

/** What BullMQ holds of a schedule: its next time, in ms since the epoch, and where that iteration is. */
export interface Chain {
  readonly next: number | null;
  readonly iteration: 'delayed' | 'queued' | 'active' | 'finished' | 'gone';
  /** Where its ledger stands; null where it has none. */
  readonly cursor: Cursor | null;
  /** Some of its ticks have a run that has not ended. */
  readonly claims: boolean;
  /** Somebody else has written to its scheduler. */
  readonly edited: boolean;
}

export type Change =
  | { readonly kind: 'add'; readonly wanted: Wanted; readonly before: null; readonly after: number | null }
  | {
      readonly kind: 'change';
      readonly wanted: Wanted;
      readonly fields: readonly string[];
      readonly before: number | null;
      readonly after: number | null;
    }
  | {
      readonly kind: 'heal';
      readonly wanted: Wanted;
      readonly reason: string;
      readonly before: number | null;
      readonly after: number | null;
    }
  | { readonly kind: 'remove'; readonly stored: Stored; readonly before: number | null; readonly after: null };

export interface Conflict {
  readonly id: string;
  readonly reason: string;
}

export const cannotBeRead = 'its entry in the store cannot be read';

export interface Plan {
  readonly changes: readonly Change[];
  readonly unchanged: number;
  /** Schedules that cannot be what the code wants, and are left as they are. */
  readonly conflicts: readonly Conflict[];
  /** Schedules that the code removes or disables, which wants somebody's word; how many of this app's are not disabled. */
  readonly refused: { readonly ids: readonly string[]; readonly owned: number } | null;
}

export interface PlanInput {
  /** Whose schedules these are. */
  readonly app: string;
  readonly wanted: readonly Wanted[];
  readonly stored: ReadonlyMap<string, Stored>;
  /** Ids whose entry in the store makes no sense to this release. */
  readonly unreadable: ReadonlySet<string>;
  readonly chains: ReadonlyMap<string, Chain>;
  /** In ms since the epoch. */
  readonly now: number;
  /** Somebody has said yes to removing or disabling most of what the app has. */
  readonly removeMany?: boolean;
}

/** What must happen for Redis to hold what the code wants. Pure: the producer applies it, the command line prints it. */
export function plan(input: PlanInput): Plan {
  const owner = ownerOf(input.app);
  const refused = refusedOf(input, owner);
  const stays = new Set(refused?.ids);
  const changes: Change[] = [];
  const conflicts: Conflict[] = [];
  let unchanged = 0;
  for (const wanted of input.wanted) {
    if (stays.has(wanted.id)) continue;
    const found = wantsNothing(wanted, input, owner)
      ? null
      : (conflictOf(wanted, input, owner) ?? changeOf(wanted, input));
    if (!found) unchanged++;
    else if ('kind' in found) changes.push(found);
    else conflicts.push(found);
  }
  const removals = removalsOf(input, owner).filter(({ stored: { id } }) => !stays.has(id));
  const repairs = [...input.stored.values()].flatMap((item) => repairOf(item, input) ?? []);
  return { changes: [...changes, ...removals, ...repairs], unchanged, conflicts, refused };
}

/** What the code declares, ready to be compared; the schedules of a disabled job are disabled. */
export function wantedOf(registry: Registry): Wanted[] {
  return registry.jobs.flatMap((job) => {
    const options = runOptions(job);
    return job.schedules.map(({ id, description, timing, policy, payload, next, alerts, enabled, ...policies }) => {
      const specification = {
        job: job.name,
        description,
        timing,
        policy,
        payload,
        options: tickOptions(options, policies),
        ...(alerts && { alerts }),
        ...(!(job.enabled && enabled) && { enabled: false as const }),
      };
      return { id, specification, hash: hashOf(specification), next };
    });
  });
}

/** Who owns what was made at run time. */
export const apiOwner = 'api';

export function ownerOf(app: string): string {
  return `code:${app}`;
}

/** The same for equal content, whatever the order of the keys in it. */
export function hashOf(specification: Specification): string {
  const { options, ...rest } = specification;
  let text = optionTexts.get(options);
  if (text === undefined) {
    text = canonical(options);
    optionTexts.set(options, text);
  }
  return hash('sha1', canonical(rest) + text, 'base64url').slice(0, 16);
}

// The schedules of a job, thousands perhaps, share one object of options.
const optionTexts = new WeakMap<RunOptions, string>();

/** JSON with its keys in order. Asked for each schedule at each start, so it visits every value just once. */
function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if ('toJSON' in value) return JSON.stringify(value);
  const known = value as Record<string, unknown>;
  let text = '';
  for (const key of Object.keys(known).sort()) {
    if (known[key] !== undefined) text += `${text && ','}${JSON.stringify(key)}:${canonical(known[key])}`;
  }
  return `{${text}}`;
}

/** What another app has is no business of one that is disabled. */
function wantsNothing(wanted: Wanted, { stored }: PlanInput, owner: string): boolean {
  const found = stored.get(wanted.id);
  return found !== undefined && found.owner !== owner && !isEnabled(wanted);
}

function conflictOf({ id, specification }: Wanted, { stored, unreadable }: PlanInput, owner: string): Conflict | null {
  if (unreadable.has(id)) return { id, reason: cannotBeRead };
  const found = stored.get(id);
  if (!found) return null;
  if (found.owner !== owner) return { id, reason: `it belongs to ${found.owner}` };
  const { job } = found.specification;
  if (job === specification.job) return null;
  return { id, reason: `it is a schedule of the job ${job}, and a schedule never changes its job` };
}

function changeOf(wanted: Wanted, { stored, chains, now }: PlanInput): Change | Conflict | null {
  const found = stored.get(wanted.id);
  const chain = chains.get(wanted.id);
  const before = chain?.next ?? null;
  const fault = faultToHeal(chain, wanted.specification, now);
  if (found?.hash === wanted.hash && !fault && !found.held) return null;
  const timing = timingOf(wanted.specification);
  const goesOn = found && isSameTiming(timingOf(found.specification), timing);
  const ahead = goesOn ? accountedUntil(chain?.cursor, timing) : 0;
  const after = tickAfter(wanted, Math.max(now, ahead));
  if (after !== null && typeof after !== 'number') return after;
  if (!found) return { kind: 'add', wanted, before: null, after };
  if (found.hash !== wanted.hash) {
    return { kind: 'change', wanted, fields: changedFields(found.specification, wanted.specification), before, after };
  }
  // A chain without a further tick has ended: an upsert would start it anew.
  if (fault && after !== null) return { kind: 'heal', wanted, reason: fault, before, after };
  return found.held ? { kind: 'change', wanted, fields: ['held'], before, after } : null;
}

/** How long, in ms, a change at run time is left to the process that makes it. */
const settleWithinMs = 5_000;

/** What a schedule that was made at run time lacks; what it is to be is nobody's business here. */
function repairOf(stored: Stored, { chains, now }: PlanInput): Change | null {
  const { id, owner, specification, hash, unsettled } = stored;
  if (owner !== apiOwner || isUnderWay(stored, now)) return null;
  const chain = chains.get(id);
  const before = chain?.next ?? null;
  if (unsettled?.removal) return { kind: 'remove', stored, before, after: null };
  const fault = faultToHeal(chain, specification, now);
  if (!unsettled && !fault) return null; // before anything is computed: there may be many of them
  const wanted = { id, hash, specification };
  const from = unsettled ? now : Math.max(now, accountedUntil(chain?.cursor, timingOf(specification)));
  const after = tickAfter(wanted, from);
  if (after !== null && typeof after !== 'number') return null;
  if (unsettled) return { kind: 'heal', wanted, reason: 'a change of it was left half done', before, after };
  return fault && after !== null ? { kind: 'heal', wanted, reason: fault, before, after } : null;
}

/** Whether the process that changes a schedule at run time is most likely at it still. */
export function isUnderWay({ unsettled }: Pick<Stored, 'unsettled'>, now: number): boolean {
  return unsettled !== undefined && Math.abs(now - unsettled.since) < settleWithinMs;
}

export function isEnabled({ specification }: Pick<Wanted, 'specification'>): boolean {
  return specification.enabled !== false;
}

/** When a schedule ticks: never, where it is disabled. */
export function timingOf({ enabled, timing }: Specification): Timing {
  return enabled === false ? never : timing;
}

/** With the times that it has: none, where it is disabled. */
export function effective(specification: Specification): Specification {
  return specification.enabled === false ? { ...specification, timing: never } : specification;
}

const never: Timing = { kind: 'at', at: 0 };

/** A schedule's own rule may fail: that is its own trouble, and nobody else's. */
function tickAfter({ id, specification, next }: Wanted, now: number): number | null | Conflict {
  const timing = timingOf(specification);
  try {
    const offset = offsetOf(timing);
    const time = nextTick(timing, now - offset, next);
    return time === null ? null : time + offset;
  } catch (error) {
    return { id, reason: `its next time cannot be computed: ${String(error)}` };
  }
}

/** The chain of a schedule that is over has ended, and is not broken. */
function faultToHeal(chain: Chain | undefined, specification: Specification, now: number): string | null {
  return isOver(chain?.cursor, specification, now) ? null : faultOf(chain);
}

/** Whether every tick that a schedule has is accounted for: also one that is yet to come, where it was cancelled. */
export function isOver(cursor: Cursor | null | undefined, specification: Specification, now: number): boolean {
  if (!cursor || cursor.next !== null) return false;
  const timing = timingOf(specification);
  // What a schedule's own rule says may be another thing tomorrow.
  return timing.kind === 'next' ? accountedUntil(cursor, timing) > now : nextTick(timing, cursor.at) === null;
}

/** When the last tick that has its entry is due, in ms since the epoch: in the future, where it was cancelled before. */
export function accountedUntil(cursor: Cursor | null | undefined, timing: Timing): number {
  return cursor ? cursor.at + offsetOf(timing) : 0;
}

export function isSameTiming(a: Timing, b: Timing): boolean {
  return canonical(a) === canonical(b);
}

/** What is wrong with BullMQ's chain of a schedule; null where nothing is. */
export function faultOf(chain: Chain | undefined): string | null {
  if (!chain || chain.next === null) return 'its scheduler is gone';
  if (chain.iteration === 'gone') return 'its next run is gone';
  if (chain.iteration === 'finished') return 'its chain ended';
  return chain.edited ? 'its scheduler was edited by hand' : null;
}

function changedFields(before: Specification, after: Specification): string[] {
  const fields = ['description', 'timing', 'policy', 'payload', 'options', 'alerts', 'enabled'] as const;
  return fields.filter((field) => canonical(before[field]) !== canonical(after[field]));
}

/** An app that points at the wrong Redis, or lost most of its jobs or settings to a mistake, must not stop what runs. */
function refusedOf({ wanted, stored, removeMany }: PlanInput, owner: string): Plan['refused'] {
  const isOfItsJob = ({ id, specification }: Wanted) => stored.get(id)?.specification.job === specification.job;
  const goesOn = new Set(wanted.filter((it) => isEnabled(it) || !isOfItsJob(it)).map(({ id }) => id));
  const owned = [...stored.values()].filter((item) => item.owner === owner && isEnabled(item));
  const stopping = owned.filter(({ id }) => !goesOn.has(id));
  const most = stopping.length >= 5 && stopping.length > owned.length / 2;
  // Once refused it stays so: what the app has added meanwhile would make the rest look few at the next turn.
  if (removeMany || !(most || stopping.some(({ held }) => held))) return null;
  return { ids: stopping.map(({ id }) => id).sort(), owned: owned.length };
}

function removalsOf({ wanted, stored, chains }: PlanInput, owner: string): (Change & { kind: 'remove' })[] {
  const declared = new Set(wanted.map(({ id }) => id));
  return [...stored.values()]
    .filter((item) => item.owner === owner && !declared.has(item.id))
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map((item) => ({ kind: 'remove', stored: item, before: chains.get(item.id)?.next ?? null, after: null }));
}
