/** What tests of jobs import from 'rondo/testing': no Redis, no clock to wait for. */
export { type PlayedTick, type PlayOptions, play, type Range, tickAfter, ticksOf } from './play.js';
export {
  type EnqueuedInTest,
  type FinishedRun,
  type LeftByRun,
  type LoggedLine,
  type RunOptions,
  runJob,
} from './run-job.js';
