import type { Emit } from '../jobs/events.js';
import { abortGraceMs, currentRun } from './execute.js';
import { failure } from './outcome.js';

/**
 * Keeps a handler's mistake from taking the process down: a rejection that nobody awaits, or an error thrown
 * from a timer or a listener, fails the run that it belongs to, and no other.
 *
 * @param crash is told of an exception that belongs to no run: nobody knows what state it left behind
 */
export function containStrayErrors(emit: Emit, crash: (error: unknown) => void) {
  const onRejection = (error: unknown) => {
    if (!blame(error, emit)) emit({ type: 'process.stray-rejection', error });
  };
  const onException = (error: unknown) => {
    if (!blame(error, emit)) crash(error);
  };
  return {
    name: 'stray errors',
    async start() {
      process.on('unhandledRejection', onRejection);
      process.on('uncaughtException', onException);
    },
    async stop() {
      process.off('unhandledRejection', onRejection);
      process.off('uncaughtException', onException);
    },
  };
}

function blame(error: unknown, emit: Emit): boolean {
  const run = currentRun.getStore();
  if (!run) return false;
  emit({ type: 'run.stray-error', error: run.redactor.error(error), ...run.facts });
  run.stop(failure(error), error, abortGraceMs);
  return true;
}
