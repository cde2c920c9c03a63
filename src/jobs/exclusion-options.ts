import { z } from 'zod';
import type { Problem } from '../errors.js';
import { nearest, problemsOf, show } from '../problems.js';
import { type Calendar, dayOfDate, type Exclusion, excludedHandlings, timeOfDay, weekdayNames } from './calendar.js';
import { timesOfDay } from './cron.js';
import { nameSchema, timezoneSchema } from './fields.js';
import { nextNominal, nextTick, type Timing } from './schedule.js';

const dateSchema = z
  .string()
  .refine((date) => dayOfDate(date) !== null, { error: 'a date of the calendar such as "2026-12-24"' });

// 2000 had a 29th of February: what it did not have no year has.
const yearlySchema = z.string().refine((date) => dayOfDate(`2000-${date}`) !== null, {
  error: 'a day of the year such as "12-25", month first',
});

const timeSchema = z.string().refine((time) => timeOfDay(time) !== null, { error: 'a time of day such as "22:00"' });

const some = { error: 'at least one' };

const windowSchema = z
  .strictObject({
    days: z.array(z.enum(weekdayNames)).min(1, some),
    from: timeSchema.optional(),
    to: timeSchema.optional(),
  })
  .superRefine(({ from = '00:00', to = '24:00' }, context) => {
    if (from === '24:00')
      context.addIssue({ code: 'custom', path: ['from'], message: 'a time before the end of the day' });
    if (from === to)
      context.addIssue({ code: 'custom', path: ['to'], message: 'another time than from; a whole day has neither' });
  });

const calendarFields = z.strictObject(
  {
    name: nameSchema.optional(),
    timezone: timezoneSchema.optional(),
    dates: z.array(dateSchema).min(1, some).optional(),
    yearly: z.array(yearlySchema).min(1, some).optional(),
    weekly: z.array(windowSchema).min(1, some).optional(),
  },
  { error: notACalendar },
);

const saysSomething = ({ dates, yearly, weekly }: Calendar, context: z.RefinementCtx) => {
  if (dates || yearly || weekly) return;
  context.addIssue({ code: 'custom', path: ['dates'], message: 'at least one of dates, yearly, weekly' });
};

export const calendarSchema = calendarFields.superRefine(saysSomething as never);
const namedSchema = calendarFields.extend({ name: nameSchema }).superRefine(saysSomething as never);

/** The options of a schedule that say when it does not run. */
export const exclusionFields = {
  exclude: z.array(calendarSchema).min(1, some).optional(),
  except: z.array(dateSchema).min(1, some).optional(),
  onExcluded: z.enum(excludedHandlings).optional(),
};

/** The keys that there are in them, to suggest from. */
export const exclusionNames: Record<string, readonly string[]> = {
  exclude: Object.keys(calendarFields.shape),
  calendars: Object.keys(calendarFields.shape),
  weekly: Object.keys(windowSchema.shape),
};

interface ExclusionFields {
  readonly exclude?: readonly Calendar[] | undefined;
  readonly except?: readonly string[] | undefined;
  readonly onExcluded?: (typeof excludedHandlings)[number] | undefined;
}

/** What a timing carries of them, all calendars whole, so that a worker needs no code to know them. */
export function exclusionOf(
  { exclude: calendars, except, onExcluded }: ExclusionFields,
  timezone: string,
): Exclusion | null {
  if (!calendars) return null;
  return { timezone, calendars, ...(except && { except }), ...(onExcluded === 'next-working-day' && { onExcluded }) };
}

/** More times a day than this are not moved: to look for them would take too long. */
const mostTimesMoved = 1_440;

/** What is wrong with them as a whole: the field, and what was expected there. */
export function faultOfExclusion(
  { exclude, except, onExcluded }: ExclusionFields,
  timing: Timing,
): [field: string, expected: string] | null {
  if (exclude) return faultOfMoving(timing, onExcluded) ?? (leavesNothing(timing) ? ['exclude', withinTenYears] : null);
  const alone = except ? 'except' : onExcluded ? 'onExcluded' : null;
  return alone && [alone, 'nothing, since the schedule excludes nothing'];
}

const withinTenYears = 'calendars that leave the schedule a tick within ten years';

function faultOfMoving(
  timing: Timing,
  onExcluded: ExclusionFields['onExcluded'],
): [field: string, expected: string] | null {
  if (onExcluded !== 'next-working-day' || timing.kind === 'at') return null;
  const times = timing.kind === 'cron' ? timesOfDay(timing.cron) : null;
  if (!times) return ['onExcluded', '"drop": only a cron of fixed times of day, or at, has ticks that can move'];
  return times.length > mostTimesMoved ? ['onExcluded', `"drop" for more than ${mostTimesMoved} times a day`] : null;
}

/**
 * A schedule as JSON may give it, whose `exclude` names calendars that code knows, with these in place of their names.
 *
 * @param at what the schedule's fields hang from in the words of a problem; ends with a dot, or is empty
 */
export function withCalendars(
  schedule: unknown,
  known: ReadonlyMap<string, Calendar>,
  at = '',
): { readonly schedule: unknown; readonly problems: Problem[] } {
  const { exclude } = (schedule ?? {}) as { exclude?: unknown };
  if (!Array.isArray(exclude)) return { schedule, problems: [] };
  const problems: Problem[] = [];
  const calendars = exclude.map((item, index) => {
    if (typeof item !== 'string') return item;
    const found = known.get(item);
    if (!found) problems.push({ where: `${at}exclude[${index}]`, expected: aKnownOne(item, known), got: show(item) });
    return found ?? placeholder;
  });
  return { schedule: { ...(schedule as object), exclude: calendars }, problems };
}

/** The calendars that a module declares for schedules of other doors. */
export function readCalendars(given: unknown, problems: Problem[]): Calendar[] {
  const read = z.array(namedSchema).safeParse(given);
  if (read.success) return read.data as Calendar[];
  const at = (path: readonly PropertyKey[]) =>
    exclusionNames[String(path.findLast((key) => typeof key === 'string') ?? 'calendars')] ?? [];
  problems.push(...problemsOf(read.error, given, { at: 'calendars', known: at }));
  return [];
}

// Its schedule is refused already, and nothing else is to be said of it.
const placeholder: Calendar = { dates: ['2000-01-01'] };

function aKnownOne(name: string, known: ReadonlyMap<string, Calendar>): string {
  if (known.size === 0) return 'a calendar in place: the jobs declare none';
  const near = nearest(name, known.keys());
  return `the name of a calendar: ${near ? `did you mean "${near}"?` : [...known.keys()].slice(0, 10).join(', ')}`;
}

function leavesNothing(timing: Timing): boolean {
  // What code computes is not asked before it is needed.
  if (timing.kind === 'next') return false;
  const from = (timing.startsAt ?? Date.UTC(2000, 0)) - 1;
  const start = timing.kind === 'at' ? timing.at - 1 : from;
  return nextTick(timing, start) === null && nextNominal(timing, start) !== null;
}

function notACalendar({ code }: { code?: string }): string | undefined {
  return code === 'invalid_type'
    ? 'a calendar made with defineCalendar, or one in place such as { dates: ["2026-12-24"] }'
    : undefined;
}
