import type { RequestHandler } from 'express';
import type { Broker } from '../../broker/queues.js';
import type { Emit } from '../../jobs/events.js';
import type { Registry } from '../../jobs/registry.js';
import type { Live } from './live.js';

/** What pages are made of. */
export interface SiteInput {
  readonly broker: Broker;
  readonly registry: Registry;
  readonly emit: Emit;
  readonly now: () => number;
  /** Keeps pages up to date. */
  readonly live: Live;
  /** Keeps a key that is for some jobs to them, by the address of a schedule or of a job. */
  readonly restrict: RequestHandler;
  /** What every request that changes something passes, beside the scope: limits, the same, and the audit log. */
  readonly guardChanges: readonly RequestHandler[];
}
