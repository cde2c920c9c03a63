import { z } from 'zod';
import { isTimezone } from '../timezone.js';
import { memo } from './memo.js';

/** Names of jobs, schedules and calendars: they become parts of Redis keys, URLs and metrics. */
export const nameSchema = z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/, {
  error: 'a name of 1 to 64 small letters, digits and hyphens, not beginning with a hyphen',
});

/** Schedules by the thousand share a few zones, and each is dear to check. */
export const timezoneSchema = z
  .string()
  .refine(memo(isTimezone), { error: 'an IANA time zone such as "Europe/Paris"' });
