import { pairField, readPairField } from '../broker/pair-field.js';
import type { Broker } from '../broker/queues.js';
import { isAnotherAlive } from '../broker/releases.js';
import type { JobDefinition } from '../jobs/define-job.js';
import type { Emit } from '../jobs/events.js';
import type { Registry } from '../jobs/registry.js';
import type { Deployment } from './schedules.js';

/** A job that the code of its app declared once, and does no longer. Its runs wait until it is declared again. */
export interface GoneJob {
  readonly name: string;
  readonly app: string;
  /** The last release that declared it. */
  readonly release: string;
  readonly waiting: number;
  readonly delayed: number;
  readonly active: number;
  readonly failed: number;
}

export interface GoneInput extends Deployment {
  readonly broker: Broker;
  readonly registry: Registry;
  readonly emit: Emit;
  /** For how long, in ms, another release that still knows the job must have been silent. */
  readonly silentMs: number;
}

/**
 * What the producer in the lead has to do with jobs that are gone: remembers which there are, tells once of each whose
 * runs wait, and forgets it when nothing is left of it.
 */
export function createGoneWatch(input: GoneInput) {
  const { broker, registry, emit, app, release, silentMs } = input;
  const told = new Set<string>();

  return async function look(): Promise<void> {
    const known = await readKnown(broker);
    await remember(broker, input, known);
    const gone = goneOf(registry, app, known);
    if (gone.length === 0 || (await isAnotherAlive(broker, { app, release }, silentMs))) return;
    for (const { job, elsewhere, release: last } of gone) {
      if (elsewhere || !(await isLeft(job, last))) await broker.client.hdel(broker.keys.jobs, pairField(app, job));
    }
  };

  /** Completed runs count too: those of a job that nobody knows nobody would ever remove. */
  async function isLeft(job: string, last: string): Promise<boolean> {
    const left = await countRuns(broker, job, app, last);
    tell(left);
    return !isEmpty(left) || (await broker.queue(job).getCompletedCount()) > 0;
  }

  function tell({ name, waiting, delayed }: GoneJob): void {
    if (waiting + delayed === 0 || told.has(name)) return;
    told.add(name);
    emit({ type: 'job.gone', job: name, app, waiting, delayed });
  }
}

/** The jobs that this code declares no longer and that have runs which are not completed, and how many. */
export async function listGone(broker: Broker, registry: Registry, app: string): Promise<GoneJob[]> {
  const gone = goneOf(registry, app, await readKnown(broker)).filter(({ elsewhere }) => !elsewhere);
  const counted = await Promise.all(gone.map(({ job, release }) => countRuns(broker, job, app, release)));
  return counted.filter((job) => !isEmpty(job));
}

/** A job that code declared once: nothing but its name is known, and of a run what that carries itself. */
export interface Undeclared {
  readonly name: string;
  readonly undeclared: true;
}

/**
 * A job that is declared, or was once, and whose runs can be looked at and cancelled.
 *
 * @throws RondoError `job-unknown`
 */
export async function knownJob(broker: Broker, registry: Registry, name: string): Promise<JobDefinition | Undeclared> {
  const declared = registry.find(name);
  if (declared) return declared;
  return (await isKnownJob(broker, registry, name)) ? { name, undeclared: true } : registry.get(name);
}

export async function isKnownJob(broker: Broker, registry: Registry, name: string): Promise<boolean> {
  return registry.find(name) !== undefined || (await readKnown(broker)).some(({ job }) => job === name);
}

export function definitionOf(job: JobDefinition | Undeclared): JobDefinition | undefined {
  return 'undeclared' in job ? undefined : job;
}

export interface Known {
  readonly app: string;
  readonly job: string;
  readonly release: string;
}

/** The jobs that some app has declared, of those that are not forgotten. */
export async function readKnown({ client, keys }: Broker): Promise<Known[]> {
  return Object.entries(await client.hgetall(keys.jobs)).flatMap(([field, release]) => {
    const [app, job] = readPairField(field);
    return app !== undefined && job !== undefined ? [{ app, job, release }] : [];
  });
}

async function remember({ client, keys }: Broker, { registry, app, release }: GoneInput, known: readonly Known[]) {
  const written = new Set(known.filter((it) => it.app === app && it.release === release).map(({ job }) => job));
  const missing = registry.jobs.filter(({ name }) => !written.has(name));
  const fields = Object.fromEntries(missing.map(({ name }) => [pairField(app, name), release]));
  if (missing.length > 0) await client.hset(keys.jobs, fields);
}

/** What another app declares is its, and gone only from here. */
function goneOf(registry: Registry, app: string, known: readonly Known[]) {
  const others = new Set(known.filter((it) => it.app !== app).map(({ job }) => job));
  return known
    .filter((it) => it.app === app && !registry.find(it.job))
    .map((it) => ({ ...it, elsewhere: others.has(it.job) }));
}

async function countRuns(broker: Broker, name: string, app: string, release: string): Promise<GoneJob> {
  const queue = broker.queue(name);
  const counts = await queue.getJobCounts('wait', 'prioritized', 'delayed', 'active', 'failed');
  const { wait = 0, prioritized = 0, delayed = 0, active = 0, failed = 0 } = counts;
  return { name, app, release, waiting: wait + prioritized, delayed, active, failed };
}

function isEmpty({ waiting, delayed, active, failed }: GoneJob): boolean {
  return waiting + delayed + active + failed === 0;
}
