import { createHash } from 'node:crypto';
import {
  type Context,
  context,
  createContextKey,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { type IdGenerator, RandomIdGenerator } from '@opentelemetry/sdk-trace-node';
import { ATTR_ERROR_TYPE } from '@opentelemetry/semantic-conventions';
import { type Attributes, type Exception, type Telemetry, TelemetryAttributes, type Time } from 'bullmq';
import { BullMQOTelSpan, BullMQOtel } from 'bullmq-otel';
import type { RondoEvent } from '../jobs/events.js';
import { isoTime } from '../jobs/words.js';

/** The name that spans are told to come from. */
export const tracerName = 'rondo';

/**
 * What BullMQ is given to trace with: bullmq-otel's, of which only what is added and what is executed becomes a span.
 * BullMQ has others, for each look for work, each renewal of locks and each schedule that is brought in line.
 *
 * @param ids those of the provider
 */
export function traceRuns(ids: TraceIds) {
  const { contextManager } = new BullMQOtel({ tracerName });
  const start = (name: string, kind: SpanKind, parent: Context) =>
    new RunSpan(trace.getTracer(tracerName).startSpan(name, { kind }, parent));
  const inContext = {
    with: contextManager.with.bind(contextManager),
    active: contextManager.active.bind(contextManager),
    root: () => ROOT_CONTEXT,
  };

  const queues: Telemetry<Context> = {
    tracer: {
      // A producer's own rounds, and a backfill that one goes on with, are nobody's trace.
      startSpan: (name, options, parent = context.active()) =>
        options?.kind === SpanKind.PRODUCER && trace.getSpan(parent) ? start(name, SpanKind.PRODUCER, parent) : noSpan,
    },
    contextManager: {
      ...inContext,
      getMetadata: (within: Context) => (trace.getSpan(within) ? contextManager.getMetadata(within) : ''),
      fromMetadata: readCarried,
    },
  };

  const workers: Telemetry<Context> = {
    tracer: {
      startSpan(name, options, parent = ROOT_CONTEXT) {
        if (options?.kind !== SpanKind.CONSUMER) return noSpan;
        return ids.beginning(parent.getValue(ownTraceKey), () => start(name, SpanKind.CONSUMER, parent));
      },
    },
    contextManager: {
      ...inContext,
      // A worker adds a schedule's next run while it ends another run, in whose trace that has no place.
      getMetadata: () => '',
      fromMetadata: readCarried,
    },
  };

  /** A run comes from Redis, where anybody may have put it: what makes no sense is no trace. */
  function readCarried(_active: Context, carried: string): Context {
    if (carried.startsWith(own)) return ROOT_CONTEXT.setValue(ownTraceKey, carried.slice(own.length));
    try {
      return contextManager.fromMetadata(ROOT_CONTEXT, carried);
    } catch {
      return ROOT_CONTEXT;
    }
  }

  return {
    queues,
    workers,
    ownTrace: (key: string) => own + createHash('sha256').update(key).digest('hex').slice(0, 32),
    traceparent(): string | null {
      const carrier: { traceparent?: string } = {};
      propagation.inject(context.active(), carrier);
      return carrier.traceparent ?? null;
    },
  };
}

/**
 * Puts what is told of a run on the span of its attempt, in whose context it is told. Lines of a handler's own are not:
 * the log has them, under the same ids.
 */
export function noteRun(event: RondoEvent): void {
  switch (event.type) {
    case 'run.started':
    case 'run.succeeded':
    case 'run.skipped':
    case 'run.parked':
    case 'run.interrupted':
    case 'run.cancelled':
    case 'run.failed':
      describe(event, trace.getActiveSpan());
  }
}

/** Gives out ids at random, but for a trace that is to have a certain one. */
export class TraceIds implements IdGenerator {
  readonly #random = new RandomIdGenerator();
  #wanted: string | null = null;

  generateTraceId(): string {
    return this.#wanted ?? this.#random.generateTraceId();
  }

  generateSpanId(): string {
    return this.#random.generateSpanId();
  }

  /** A trace that begins in `work` gets this id, where there is one. */
  beginning<Result>(id: unknown, work: () => Result): Result {
    this.#wanted = typeof id === 'string' ? id : null;
    try {
      return work();
    } finally {
      this.#wanted = null;
    }
  }
}

const own = 'own:';
const ownTraceKey = createContextKey('rondo: the id of the trace that begins here');

/** BullMQ's span, without what it would tell of payloads, and with the status that bullmq-otel leaves out. */
class RunSpan extends BullMQOTelSpan {
  /** They hold results. */
  override addEvent(): void {}

  override setAttributes({ [TelemetryAttributes.BulkNames]: _sameForAll, ...attributes }: Attributes): void {
    this.span.setAttributes(attributes as never);
  }

  override recordException(exception: Exception, time?: Time): void {
    super.recordException(exception, time);
    const message = typeof exception === 'string' ? exception : exception.message;
    this.span.setStatus({ code: SpanStatusCode.ERROR, ...(message !== undefined && { message }) });
  }
}

const noSpan = {
  setSpanOnContext: (within: Context) => within,
  setAttribute() {},
  setAttributes() {},
  addEvent() {},
  recordException() {},
  end() {},
};

type Told =
  | 'run.started'
  | 'run.succeeded'
  | 'run.skipped'
  | 'run.parked'
  | 'run.interrupted'
  | 'run.cancelled'
  | 'run.failed';

function describe(event: Extract<RondoEvent, { type: Told }>, span: Span | undefined): void {
  const { type, job, run, attempt, maxAttempts, schedule, tick, latenessMs } = event;
  span?.setAttributes({
    'rondo.job': job,
    'rondo.run': run,
    'rondo.attempt': attempt,
    'rondo.max_attempts': maxAttempts,
    ...(schedule !== undefined && { 'rondo.schedule': schedule }),
    ...(tick !== undefined && { 'rondo.tick': isoTime(tick) }),
    ...(latenessMs !== undefined && { 'rondo.lateness_ms': latenessMs }),
    ...(type !== 'run.started' && { 'rondo.outcome': type.slice('run.'.length) }),
    ...(type === 'run.skipped' && { 'rondo.reason': event.reason }),
  });
  if (type === 'run.cancelled') span?.setStatus({ code: SpanStatusCode.ERROR, message: `cancelled by ${event.by}` });
  if (type !== 'run.failed') return;
  const { code, error, reason, retryInMs } = event;
  span?.setAttribute(ATTR_ERROR_TYPE, code ?? error.name);
  if (retryInMs !== null) span?.setAttribute('rondo.retry_in_ms', retryInMs);
  span?.recordException(error);
  span?.setStatus({ code: SpanStatusCode.ERROR, message: reason });
}
