import { context, propagation, SpanKind, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider, type SpanExporter } from '@opentelemetry/sdk-trace-node';
import { ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions';
import type { Config } from '../config.js';
import type { Emit } from '../jobs/events.js';
import { until } from '../lifecycle.js';
import { traceRequests } from './trace-requests.js';
import { noteRun, TraceIds, traceRuns, tracerName } from './trace-runs.js';

export type Tracing = ReturnType<typeof createTracing>;

export interface TracingInput {
  readonly collector: NonNullable<Config['collector']>;
  readonly app: string;
  readonly release: string;
}

/**
 * Traces what a process does, and sends that to a collector. Whoever imports this file loads OpenTelemetry: it is loaded
 * only where a collector is set. Beside the address the SDK reads its own variables of the environment.
 */
export function createTracing({ collector, app, release }: TracingInput) {
  const ids = new TraceIds();
  const exporter = new Exporter({ url: collector.url });
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ [ATTR_SERVICE_NAME]: app, [ATTR_SERVICE_VERSION]: release }).merge(
      detectResources({ detectors: [envDetector] }),
    ),
    idGenerator: ids,
    spanProcessors: [new BatchSpanProcessor(exporter)],
  });
  provider.register();

  return {
    runs: traceRuns(ids),
    requests: traceRequests,
    note: noteRun,
    /** What a line of the log is told to belong to. */
    ids(): { trace_id?: string; span_id?: string } {
      const span = trace.getActiveSpan()?.spanContext();
      return span ? { trace_id: span.traceId, span_id: span.spanId } : {};
    },
    /** Does work as a trace of its own. */
    within<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
      return trace
        .getTracer(tracerName)
        .startActiveSpan(name, { kind: SpanKind.INTERNAL, root: true }, (span) => work().finally(() => span.end()));
    },
    /** As a part of the process: the last to stop, since what the others did is to be sent. */
    service: (emit: Emit) => ({
      name: 'traces',
      async start() {
        exporter.tellsOf(collector.shown, emit);
      },
      async stop(deadline: number) {
        const sent = provider.shutdown().catch(() => {});
        await Promise.race([sent, until(flushedBy(deadline, exporter.isAway))]);
        trace.disable();
        context.disable();
        propagation.disable();
      },
    }),
  };
}

/** How long the last spans may take to be sent, in ms: even where the time is over, and no longer than it is worth. */
const flushMs = { least: 500, most: 5_000 };

function flushedBy(deadline: number, isAway: boolean): number {
  const now = Date.now();
  return isAway ? now + flushMs.least : Math.min(Math.max(deadline, now + flushMs.least), now + flushMs.most);
}

type Spans = Parameters<SpanExporter['export']>[0];
type Done = Parameters<SpanExporter['export']>[1];

/** That the collector takes no spans is told once, and once that it takes them again; what it did not take is lost. */
class Exporter extends OTLPTraceExporter {
  #address = '';
  #emit: Emit = () => {};
  #away: { readonly since: number; lost: number } | null = null;

  get isAway(): boolean {
    return this.#away !== null;
  }

  tellsOf(address: string, emit: Emit): void {
    this.#address = address;
    this.#emit = emit;
  }

  override export(spans: Spans, done: Done): void {
    super.export(spans, (result) => {
      if (result.code === 0) this.#taken();
      else this.#lost(spans.length, result.error);
      done(result);
    });
  }

  #lost(spans: number, error: (Error & { code?: unknown }) | undefined): void {
    if (!this.#away) {
      this.#away = { since: Date.now(), lost: 0 };
      const reason = [error?.code, error?.message].filter(Boolean).join(' ') || 'no answer';
      this.#emit({ type: 'collector.away', address: this.#address, reason });
    }
    this.#away.lost += spans;
  }

  #taken(): void {
    if (!this.#away) return;
    const { since, lost } = this.#away;
    this.#away = null;
    this.#emit({ type: 'collector.back', address: this.#address, awayMs: Date.now() - since, lost });
  }
}
