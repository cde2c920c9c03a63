import { isKnownTimezone, namePattern } from '../jobs/fields.js';
import { misfires } from '../jobs/misfire.js';
import { overlaps } from '../jobs/overlap.js';
import type { Stored } from './plan.js';

/** A schedule's entry in the store, whose id is the name of its field. */
export type Entry = Omit<Stored, 'id'>;

/**
 * Reads an entry, or answers null where it makes no sense to this release: a hand has edited it, it is cut off, or it is
 * of a release with other kinds of schedules. By hand, since ten thousand are read at each look.
 */
export function readEntry(text: string): Entry | null {
  try {
    const entry: unknown = JSON.parse(text);
    return isRecord(entry) && isEntry(entry) ? (entry as unknown as Entry) : null;
  } catch {
    return null;
  }
}

type Fields = Readonly<Record<string, unknown>>;

function isEntry({ hash, owner, specification, pause, unsettled }: Fields): boolean {
  return (
    isText(hash) &&
    isText(owner) &&
    isSpecification(specification) &&
    (pause === undefined || isPause(pause)) &&
    (unsettled === undefined || isUnsettled(unsettled))
  );
}

function isSpecification(it: unknown): boolean {
  return (
    isRecord(it) &&
    isText(it.job) &&
    namePattern.test(it.job) &&
    isTiming(it.timing) &&
    isPolicy(it.policy) &&
    isOptions(it.options)
  );
}

function isTiming(it: unknown): boolean {
  if (!isRecord(it) || !isBounded(it) || !(it.exclude === undefined || isExclusion(it.exclude))) return false;
  switch (it.kind) {
    case 'cron':
      return isText(it.cron) && isZone(it.timezone);
    case 'every':
      return Number.isSafeInteger(it.every) && (it.every as number) > 0;
    case 'at':
      return isTime(it.at);
    default:
      return it.kind === 'next';
  }
}

function isBounded({ startsAt, endsAt, spread, offset }: Fields): boolean {
  return [startsAt, endsAt, spread, offset].every((it) => it === undefined || isTime(it));
}

function isExclusion(it: unknown): boolean {
  return isRecord(it) && isZone(it.timezone) && Array.isArray(it.calendars) && it.calendars.every(isRecord);
}

function isPolicy(it: unknown): boolean {
  return isRecord(it) && isOneOf(misfires, it.misfire) && isTime(it.grace) && isTime(it.maxCatchUp);
}

function isOptions(it: unknown): boolean {
  return isRecord(it) && (it.overlap === undefined || isOneOf(overlaps, it.overlap));
}

/** Until when may be beyond all dates: an older release let that in. */
function isPause(it: unknown): boolean {
  return isRecord(it) && isTime(it.since) && (it.until === null || typeof it.until === 'number');
}

function isUnsettled(it: unknown): boolean {
  return isRecord(it) && isTime(it.since) && (it.before === null || isSpecification(it.before));
}

function isRecord(it: unknown): it is Fields {
  return typeof it === 'object' && it !== null && !Array.isArray(it);
}

function isText(it: unknown): it is string {
  return typeof it === 'string' && it !== '';
}

/** Of a moment or a duration: beyond all dates there is none. */
function isTime(it: unknown): boolean {
  return typeof it === 'number' && Math.abs(it) <= 8.64e15;
}

function isZone(it: unknown): boolean {
  return typeof it === 'string' && isKnownTimezone(it);
}

function isOneOf(names: readonly string[], it: unknown): boolean {
  return typeof it === 'string' && names.includes(it);
}
