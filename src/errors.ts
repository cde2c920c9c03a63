/**
 * Every error that Rondo raises on purpose: its code to search for, what it means in a sentence, the HTTP
 * status that carries it, and whether the same request may succeed later.
 */
export const errorTable = {
  'config-invalid': { status: 500, retryable: false, message: 'The settings are wrong' },
  'jobs-invalid': { status: 500, retryable: false, message: 'The job definitions are wrong' },
  'jobs-module': { status: 500, retryable: false, message: 'The jobs module cannot be used' },
  'job-unknown': { status: 404, retryable: false, message: 'There is no such job' },
  'job-disabled': { status: 409, retryable: false, message: 'The job is disabled' },
  'run-unknown': { status: 404, retryable: false, message: 'There is no such run' },
  'run-invalid': { status: 422, retryable: false, message: 'The run cannot be enqueued as asked' },
  'run-cancelled': { status: 409, retryable: false, message: 'The run was cancelled' },
  'run-ended': { status: 409, retryable: false, message: 'The run has ended' },
  'run-timed-out': { status: 504, retryable: true, message: 'The run took longer than its timeout' },
  'run-interrupted': { status: 503, retryable: true, message: 'The process that executed the run was stopped' },
  'run-quarantined': {
    status: 409,
    retryable: false,
    message: 'The run is set aside, since it takes its process down',
  },
  'run-not-failed': { status: 409, retryable: false, message: 'Only a run that failed can be retried' },
  'run-lock-lost': { status: 503, retryable: true, message: 'The process lost its hold on the run' },
  'memory-refused': { status: 422, retryable: false, message: 'What the run is to remember cannot be kept' },
  'payload-invalid': { status: 422, retryable: false, message: "The payload does not fit the job's schema" },
  'payload-unmigrated': {
    status: 422,
    retryable: false,
    message: 'The payload is of an older version, and cannot be migrated',
  },
  'queue-full': { status: 429, retryable: true, message: 'As many runs wait as the job allows' },
  'schedule-unknown': { status: 404, retryable: false, message: 'There is no such schedule' },
  'schedule-invalid': { status: 422, retryable: false, message: 'The schedule is wrong' },
  'schedule-conflict': { status: 409, retryable: false, message: 'The schedule cannot become what is asked' },
  'schedule-uncomputable': { status: 409, retryable: false, message: 'The times of the schedule cannot be computed' },
  'ledger-unreadable': { status: 500, retryable: false, message: 'The ledger holds what this release cannot read' },
  'schedule-declared': { status: 409, retryable: false, message: 'The schedule is declared in code: change it there' },
  'schedule-paused': { status: 409, retryable: false, message: 'The schedule is paused' },
  'backfill-invalid': { status: 422, retryable: false, message: 'The backfill cannot be done as asked' },
  'backfill-unconfirmed': { status: 409, retryable: false, message: 'So large a backfill wants to be confirmed' },
  'backfill-unknown': { status: 404, retryable: false, message: 'There is no such backfill' },
  'release-outdated': { status: 409, retryable: false, message: 'A newer release of the app is in charge' },
  'request-invalid': { status: 422, retryable: false, message: 'The request does not fit' },
  'idempotency-mismatch': {
    status: 422,
    retryable: false,
    message: 'The Idempotency-Key was used for another request',
  },
  'idempotency-in-progress': {
    status: 409,
    retryable: true,
    message: 'A request with this Idempotency-Key is under way',
  },
  'waiters-full': { status: 503, retryable: true, message: 'As many wait for runs here as this process allows' },
  'body-unreadable': { status: 400, retryable: false, message: 'The body cannot be read' },
  'body-too-large': { status: 413, retryable: false, message: 'The body is too large' },
  'body-type': { status: 415, retryable: false, message: 'The body must be application/json' },
  'address-unreadable': { status: 400, retryable: false, message: 'The address cannot be read' },
  'route-unknown': { status: 404, retryable: false, message: 'There is no such address' },
  unauthenticated: { status: 401, retryable: false, message: 'A key is wanted' },
  forbidden: { status: 403, retryable: false, message: 'The key may not do this' },
  'rate-limited': { status: 429, retryable: true, message: 'The key makes more requests than it may' },
  'sign-ins-limited': { status: 429, retryable: true, message: 'Too many wrong keys came from this address' },
  'origin-refused': { status: 403, retryable: false, message: 'A page of another origin may not do this' },
  internal: { status: 500, retryable: false, message: 'Something went wrong here' },
  'port-unusable': { status: 500, retryable: false, message: 'A port cannot be listened on' },
  'usage-wrong': { status: 400, retryable: false, message: 'The command was used in a wrong way' },
  'redis-unreachable': { status: 503, retryable: true, message: 'Redis cannot be used' },
  'database-unreachable': { status: 503, retryable: true, message: 'Postgres cannot be used' },
  'migration-failed': { status: 500, retryable: false, message: 'The tables stay as they were' },
  'store-newer': {
    status: 500,
    retryable: false,
    message: 'The data in Redis was written by a newer release of Rondo',
  },
  'embedded-unavailable': { status: 500, retryable: false, message: 'The embedded server cannot be used' },
} as const satisfies Record<string, { status: number; retryable: boolean; message: string }>;

export type ErrorCode = keyof typeof errorTable;

/** One thing that is wrong: where, what was expected there, and what came. Never holds a secret. */
export interface Problem {
  readonly where: string;
  readonly expected: string;
  readonly got: string;
}

export class RondoError extends Error {
  override readonly name = 'RondoError';
  readonly code: ErrorCode;
  /** Completes the table's message: which job, which run, what to do. */
  readonly detail: string;
  readonly problems: readonly Problem[];

  constructor(code: ErrorCode, detail = '', options: { cause?: unknown; problems?: readonly Problem[] } = {}) {
    const problems = options.problems ?? [];
    const lines = [
      [errorTable[code].message, detail].filter(Boolean).join(': '),
      ...problems.map((problem) => `  ${problem.where}: expected ${problem.expected}; got ${problem.got}`),
    ];
    super(lines.join('\n'), 'cause' in options ? { cause: options.cause } : undefined);
    // As Node.js does with its own errors. BullMQ keeps the stack of a run that failed, and so the code is known later.
    this.stack = (this.stack ?? '').replace(/^\w+/, `RondoError [${code}]`);
    this.code = code;
    this.detail = detail;
    this.problems = problems;
  }

  get status(): number {
    return errorTable[this.code].status;
  }

  get retryable(): boolean {
    return errorTable[this.code].retryable;
  }
}

/** The code of one of our errors, by its stack; null where it is another's. A newer release may have codes of its own. */
export function codeInStack(stack: string | undefined): string | null {
  return /^RondoError \[([a-z-]+)\]/.exec(stack ?? '')?.[1] ?? null;
}

/** Thrown by a handler to say that no retry will help: the run fails at once, whatever its policy. */
export class NonRetryableError extends Error {
  override readonly name = 'NonRetryableError';
  readonly retryable = false;
}

/** Thrown by a handler to say when the next attempt is worth it, in place of the policy's delay. */
export class RetryLaterError extends Error {
  override readonly name = 'RetryLaterError';
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}
