/** What a jobs module imports from 'rondo'. */
export type { Duration } from './duration.js';
export { type ErrorCode, NonRetryableError, type Problem, RetryLaterError, RondoError } from './errors.js';
export { type Calendar, defineCalendar, type WeeklyWindow } from './jobs/calendar.js';
export { type HttpRequestSettings, httpRequest } from './jobs/catalog/http-request.js';
export { type ProcessDataSettings, processData } from './jobs/catalog/process-data.js';
export { type SendEmailSettings, sendEmail } from './jobs/catalog/send-email.js';
export { sweepRetention } from './jobs/catalog/sweep-retention.js';
export type { Checkpoint, EnqueuedRun, EnqueueFromRunOptions, JobContext, JobLogger } from './jobs/context.js';
export { defineJob, type JobDefinition, type JobOptions, type ScheduleOptions } from './jobs/define-job.js';
export { daily, firstOfMonth, type NextTick, weekdays, weekly } from './jobs/schedule.js';
export { secret } from './jobs/secret-mark.js';
