import { type Problem, RondoError } from '../errors.js';
import { withNearest } from '../problems.js';
import type { Calendar } from './calendar.js';
import type { JobDefinition, Schedule } from './define-job.js';
import { readCalendars } from './exclusion-options.js';
import { nameless } from './options.js';

/** All jobs that this process knows, by name. */
export interface Registry {
  readonly jobs: readonly JobDefinition[];
  /** The calendars that schedules name, and those declared beside the jobs, by name. */
  readonly calendars: ReadonlyMap<string, Calendar>;
  /** @throws RondoError `job-unknown`, with the nearest name */
  get(name: string): JobDefinition;
  find(name: string): JobDefinition | undefined;
  findSchedule(id: string): { readonly job: JobDefinition; readonly schedule: Schedule } | undefined;
}

/**
 * @param declared calendars beside those that the schedules use
 * @throws RondoError `jobs-invalid` with everything that is wrong with any of the jobs and calendars, duplicates included
 */
export function createRegistry(jobs: readonly JobDefinition[], declared: unknown = []): Registry {
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
  const calendars = calendarsOf(
    owned.map(({ schedule }) => schedule),
    readCalendars(declared, problems),
    problems,
  );
  if (problems.length > 0) throw new RondoError('jobs-invalid', '', { problems });
  return {
    jobs,
    calendars,
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

/** A name means one calendar, wherever it stands. */
function calendarsOf(
  schedules: readonly Schedule[],
  declared: readonly Calendar[],
  problems: Problem[],
): Map<string, Calendar> {
  const calendars = new Map<string, Calendar>();
  const refused = new Set<string>();
  const keep = (calendar: Calendar, where: string) => {
    const { name } = calendar;
    if (name === undefined) return;
    const known = calendars.get(name);
    if (!known) calendars.set(name, calendar);
    else if (known !== calendar && !refused.has(name) && textOf(known) !== textOf(calendar)) {
      refused.add(name);
      const expected = 'a name of its own for each calendar';
      problems.push({ where, expected, got: `"${name}" again, with other times` });
    }
  };
  declared.forEach((calendar, index) => {
    keep(calendar, `calendars[${index}].name`);
  });
  for (const { id, timing } of schedules) {
    for (const calendar of timing.exclude?.calendars ?? []) keep(calendar, `${id}: exclude`);
  }
  return calendars;
}

const textOf = ({ name, timezone, dates, yearly, weekly }: Calendar) =>
  JSON.stringify([name, timezone, dates, yearly, weekly]);

function unknownJob(name: string, known: Iterable<string>): never {
  throw new RondoError('job-unknown', withNearest(name, known));
}
