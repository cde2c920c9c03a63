/** What another service imports from 'rondo/client': plain fetch, and no package beside it. */
export {
  type AuditQuery,
  createClient,
  type Enqueued,
  type EnqueueOptions,
  type JobClient,
  type JobDetails,
  type RondoClient,
  type RunsQuery,
} from './client.js';
export { RondoApiError, RondoConnectionError, RondoTimeoutError } from './errors.js';
export {
  createOutbox,
  type Outbox,
  outboxTable,
  type Query,
  type Relayed,
  type RelayInput,
  type RelayTrouble,
  relayOnce,
  relayOutbox,
  type Statement,
} from './outbox.js';
export type {
  BackfillAnswer,
  BackfillRange,
  PauseOptions,
  PutSchedule,
  ScheduleClient,
  SchedulePage,
  ScheduleQuery,
  Ticks,
  TicksQuery,
  TriggeredRun,
  TriggerOptions,
} from './schedules.js';
export type { CallOptions, TransportSettings } from './transport.js';
export type { BulkItem, EndedRun, JobList, JobName, PayloadOf, ResultOf, Run, RunOptions } from './typed.js';
