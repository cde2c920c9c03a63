import { type Broker, runOptions, tickOptions } from '../broker/queues.js';
import { type Problem, RondoError } from '../errors.js';
import { type JobDefinition, mustBeEnabled, type Schedule } from '../jobs/define-job.js';
import type { Emit } from '../jobs/events.js';
import { withCalendars } from '../jobs/exclusion-options.js';
import { readSchedule } from '../jobs/options.js';
import type { Registry } from '../jobs/registry.js';
import { show } from '../problems.js';
import { chunks } from './chunks.js';
import { apiOwner, hashOf, isUnderWay, type Specification, type Stored } from './plan.js';
import { isLeaving, markUnsettled, settle } from './settle.js';
import { type Entry, updateEntry } from './store.js';

export interface PutInput {
  /** Who puts it, as people know them. */
  readonly by: string;
  /** In ms since the epoch. */
  readonly now: number;
}

/** What a put has done, and the schedule as the store holds it now. */
export interface Put {
  readonly result: 'created' | 'changed' | 'unchanged';
  readonly stored: Stored;
}

/**
 * Creates a schedule of a known job at run time, or changes one that was created so. A change keeps the run of a tick
 * that is due already, and a pause; one that says what is so already touches nothing.
 *
 * @param fields the job's name as `job`, and the fields of a schedule in a definition, as JSON
 * @throws RondoError `schedule-invalid` with all that is wrong, `job-unknown`, `job-disabled`, `schedule-declared`
 *   where code has it, or `schedule-conflict` where it is another job's
 */
export async function putSchedule(
  broker: Broker,
  registry: Registry,
  id: string,
  fields: unknown,
  { by, now }: PutInput,
  emit: Emit,
): Promise<Put> {
  const specification = specificationOf(registry, id, fields);
  const wanted: Entry = {
    hash: hashOf(specification),
    owner: apiOwner,
    release: '',
    specification,
    put: { by, at: now },
  };
  let put: Omit<Put, 'stored'> & { entry: Entry } = { result: 'created', entry: wanted };
  await updateEntry(
    broker,
    id,
    (found, isThere) => {
      if (isThere) refuseOther(id, found, specification);
      put = decide(wanted, found, now);
      return put.result === 'unchanged' ? null : put.entry;
    },
    null,
  );
  const { result, entry } = put;
  if (result !== 'unchanged' && entry.unsettled) await settle(broker, id, entry, now, emit);
  return { result, stored: { ...entry, id } };
}

export interface PutMany {
  readonly by: string;
  readonly now: () => number;
  /** Told after each piece: how many have had their turn. */
  readonly onProgress?: (done: number) => void;
}

/** What became of one of many: a put, or why there is none. */
export type PutOfMany = { readonly id: string } & (
  | { readonly result: Put['result'] }
  | { readonly result: 'failed'; readonly error: unknown }
);

/**
 * Puts many, two hundred at a time. One that fails keeps none of the others from being put.
 *
 * @param schedules as `putSchedule` takes them, each with its `id`
 */
export async function putSchedules(
  broker: Broker,
  registry: Registry,
  schedules: readonly unknown[],
  { by, now, onProgress }: PutMany,
  emit: Emit,
): Promise<PutOfMany[]> {
  const done: PutOfMany[] = [];
  const seen = new Set<string>();
  for (const batch of chunks(schedules, 200)) {
    const results = batch.map(async (fields, index): Promise<PutOfMany> => {
      const { id } = (fields ?? {}) as { id?: unknown };
      const name = typeof id === 'string' ? id : `number ${done.length + index + 1}`;
      try {
        if (typeof id !== 'string') throw invalid([{ where: 'id', expected: 'an id of its own', got: show(id) }]);
        if (seen.has(id)) throw invalid([{ where: 'id', expected: 'an id of its own', got: `${show(id)} again` }]);
        seen.add(id);
        return { id, result: (await putSchedule(broker, registry, id, fields, { by, now: now() }, emit)).result };
      } catch (error) {
        return { id: name, result: 'failed', error };
      }
    });
    done.push(...(await Promise.all(results)));
    onProgress?.(done.length);
  }
  return done;
}

function specificationOf(registry: Registry, id: string, fields: unknown): Specification {
  const declared = registry.findSchedule(id);
  if (declared) throw new RondoError('schedule-declared', `${id}, in the job ${declared.job.name}`);
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
    throw invalid([{ where: 'value', expected: 'an object', got: show(fields) }]);
  }
  const { job: name, id: given = id, ...rest } = fields as Record<string, unknown>;
  if (typeof name !== 'string') throw invalid([{ where: 'job', expected: 'the name of a job', got: show(name) }]);
  const job = registry.get(name);
  const named = withCalendars({ ...rest, id }, registry.calendars);
  const { problems, schedule } = readSchedule(job, named.schedule);
  problems.push(...named.problems);
  if (given !== id) problems.push({ where: 'id', expected: `${show(id)}, under which it is put`, got: show(given) });
  if (!schedule || problems.length > 0) throw invalid(problems);
  mustBeEnabled(job);
  return specify(job, schedule as Schedule);
}

function invalid(problems: readonly Problem[]): RondoError {
  return new RondoError('schedule-invalid', '', { problems });
}

function specify(job: JobDefinition, schedule: Schedule): Specification {
  const { description, timing, policy, payload, alerts, enabled, triggerOnStart, ...policies } = schedule;
  return {
    job: job.name,
    description,
    timing,
    policy,
    payload,
    options: tickOptions(runOptions(job), policies),
    ...(alerts && { alerts }),
    ...(!enabled && { enabled }),
    ...(triggerOnStart && { triggerOnStart }),
  };
}

function refuseOther(id: string, found: Entry | null, { job }: Specification): void {
  if (!found) throw new RondoError('schedule-conflict', `the entry of ${id} in the store cannot be read`);
  if (found.owner !== apiOwner) {
    const held = found.held ? ", and is no longer, or is disabled: that waits for somebody's word" : '';
    throw new RondoError('schedule-declared', `${id} by ${found.owner}${held}`);
  }
  const { job: its } = found.specification;
  if (its !== job) {
    throw new RondoError('schedule-conflict', `${id} is one of the job ${its}, and a schedule never changes its job`);
  }
}

function decide(wanted: Entry, found: Entry | null, now: number): { result: Put['result']; entry: Entry } {
  if (!found) return { result: 'created', entry: markUnsettled(wanted, null, now) };
  if (isLeaving(found)) return { result: 'created', entry: markUnsettled(wanted, found, now) };
  // Somebody who puts the same at this moment does what is to be done.
  const isDone = !found.unsettled || isUnderWay(found, now);
  if (found.hash === wanted.hash && isDone) return { result: 'unchanged', entry: found };
  const entry = { ...wanted, ...(found.pause && { pause: found.pause }) };
  const stays = !found.unsettled && ticksAs(found.specification) === ticksAs(wanted.specification);
  return { result: 'changed', entry: stays ? entry : markUnsettled(entry, found, now) };
}

/** Equal where ledger and chain would be the same. */
function ticksAs(specification: Specification): string {
  return hashOf({ ...specification, description: '', alerts: undefined, triggerOnStart: undefined } as Specification);
}
