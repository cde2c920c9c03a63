import { z } from 'zod';
import { isTimezone } from '../timezone.js';
import { memo } from './memo.js';

export const namePattern = /^[a-z0-9][a-z0-9-]{0,63}$/;

/** Names of jobs, schedules and calendars: they become parts of Redis keys, URLs and metrics. */
export const nameSchema = z.string().regex(namePattern, {
  error: 'a name of 1 to 64 small letters, digits and hyphens, not beginning with a hyphen',
});

/** Schedules by the thousand share a few zones, and each is dear to check. */
export const isKnownTimezone = memo(isTimezone);

export const timezoneSchema = z.string().refine(isKnownTimezone, { error: 'an IANA time zone such as "Europe/Paris"' });
