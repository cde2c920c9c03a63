import { type Problem, RondoError } from '../errors.js';
import { withNearest } from '../problems.js';
import type { JobDefinition, Schedule } from './define-job.js';
import { nameless } from './options.js';

/** All jobs that this process knows, by name. */
export interface Registry {
  readonly jobs: readonly JobDefinition[];
  /** @throws RondoError `job-unknown`, with the nearest name */
  get(name: string): JobDefinition;
  find(name: string): JobDefinition | undefined;
  findSchedule(id: string): { readonly job: JobDefinition; readonly schedule: Schedule } | undefined;
}

/** @throws RondoError `jobs-invalid` with everything that is wrong with any of the jobs, duplicates included */
export function createRegistry(jobs: readonly JobDefinition[]): Registry {
  const problems = jobs.flatMap((job) => job.problems);
  const named = jobs.filter(({ name }) => name !== nameless);
  const byName = indexed(named, (job) => job.name, problems, 'a name of its own among all jobs', 'name');
  const owned = jobs.flatMap((job) => job.schedules.map((schedule) => ({ job, schedule })));
  const byId = indexed(
    owned,
    ({ schedule }) => schedule.id,
    problems,
    'an id of its own among all schedules',
    'schedule id',
  );
  if (problems.length > 0) throw new RondoError('jobs-invalid', '', { problems });
  return {
    jobs,
    get: (name) => byName.get(name) ?? unknownJob(name, byName.keys()),
    find: (name) => byName.get(name),
    findSchedule: (id) => byId.get(id),
  };
}

function indexed<Item extends { job?: JobDefinition; name?: string }>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
  problems: Problem[],
  expected: string,
  what: string,
): Map<string, Item> {
  const index = new Map<string, Item>();
  for (const item of items) {
    const key = keyOf(item);
    if (index.has(key))
      problems.push({ where: `${(item.job ?? item).name}: ${what}`, expected, got: `"${key}" again` });
    else index.set(key, item);
  }
  return index;
}

function unknownJob(name: string, known: Iterable<string>): never {
  throw new RondoError('job-unknown', withNearest(name, known));
}
