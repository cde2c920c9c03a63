import type { Broker } from '../broker/queues.js';
import type { Registry } from '../jobs/registry.js';

/** Why no run of a job starts. Nothing but that it is so is known of a pause that BullMQ alone was told of. */
export interface JobPause {
  readonly by: string | null;
  readonly note: string;
  /** ISO. */
  readonly since: string | null;
}

export interface JobPauseInput {
  /** Who pauses it, as people know them. */
  readonly by: string;
  readonly note: string;
  /** In ms since the epoch. */
  readonly now: number;
}

/**
 * Stops a job's queue: no run of it starts, of a schedule or not, on any worker; what executes goes on. One that is
 * paused already takes the new note.
 */
export async function pauseJob(broker: Broker, job: string, { by, note, now }: JobPauseInput): Promise<JobPause> {
  const before = await readJobPause(broker, job);
  const pause = { by, note, since: before?.since ?? new Date(now).toISOString() };
  const queue = broker.queue(job);
  // The note first: whoever sees the pause sees why.
  await broker.client.hset(queue.toKey('meta'), noteField, JSON.stringify(pause));
  await queue.pause();
  return pause;
}

/**
 * Lets a job's queue go on. Ticks that fell into the pause are judged by their schedule's misfire policy.
 *
 * @returns whether it was paused
 */
export async function resumeJob(broker: Broker, job: string): Promise<boolean> {
  const queue = broker.queue(job);
  const paused = await queue.isPaused();
  await queue.resume();
  await broker.client.hdel(queue.toKey('meta'), noteField);
  return paused;
}

/** Null where it is not paused. */
export async function readJobPause(broker: Broker, job: string): Promise<JobPause | null> {
  const meta = broker.queue(job).toKey('meta');
  const [paused, note] = await broker.client.hmget(meta, 'paused', noteField);
  return paused ? noted(note) : null;
}

/** Every job that is paused, by its name. */
export async function listPaused(broker: Broker, registry: Registry): Promise<(JobPause & { job: string })[]> {
  const all = await Promise.all(
    registry.jobs.map(async ({ name }) => ({ job: name, pause: await readJobPause(broker, name) })),
  );
  return all.flatMap(({ job, pause }) => (pause ? [{ job, ...pause }] : []));
}

/** In BullMQ's own hash about the queue, beside its word that it is paused. */
const noteField = 'rondo:pause';

function noted(text: string | null | undefined): JobPause {
  try {
    const { by = null, note = '', since = null } = JSON.parse(text ?? '{}') as Partial<JobPause>;
    return { by, note, since };
  } catch {
    return { by: null, note: '', since: null }; // a hand has been at it
  }
}
