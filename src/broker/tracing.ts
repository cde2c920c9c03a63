import type { Telemetry } from 'bullmq';

/** How runs are traced, for whoever adds or executes them. Made by `observability`, handed on by `main`. */
export interface RunTracing {
  /** Of queues: what is added within a trace has a span, and each run carries it along. */
  readonly queues: Telemetry;
  /** Of workers: each attempt has a span. */
  readonly workers: Telemetry;
  /** What a run is given along that is to be a trace of its own, the same for all of its attempts, by what it is known by. */
  ownTrace(key: string): string;
  /** The span that the code which asks belongs to, as the header of W3C Trace Context; null outside of a trace. */
  traceparent(): string | null;
}
