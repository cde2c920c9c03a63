import type { Problem } from '../errors.js';
import { show } from '../problems.js';
import { withoutPassword } from './addresses.js';

/** Where traces are sent. `shown` is without what may be secret. */
export interface Collector {
  readonly url: string;
  readonly shown: string;
}

/** The address for all signals has the path of each behind it, that for traces is taken as it is. */
export function collectorOf(data: {
  readonly OTEL_EXPORTER_OTLP_ENDPOINT?: string | undefined;
  readonly OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?: string | undefined;
  readonly OTEL_SDK_DISABLED?: string | undefined;
}): Collector | null {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: base, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: own } = data;
  if (isDisabled(data) || !(own ?? base)) return null;
  const url = new URL(own ?? `${base}`);
  if (!own) url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/traces`;
  return { url: url.href, shown: withoutPassword(url.href) };
}

/** Of the protocols of OpenTelemetry one is spoken here: with another the collector would be told what it does not read. */
export function wrongForTraces(given: Record<string, string | undefined>): Problem[] {
  if (isDisabled(given) || !collectorKeys.some((key) => given[key])) return [];
  const where = given.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL
    ? 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'
    : 'OTEL_EXPORTER_OTLP_PROTOCOL';
  const got = given[where] ?? 'http/protobuf';
  return got === 'http/protobuf' ? [] : [{ where, expected: 'http/protobuf, with a collector', got: show(got) }];
}

export const collectorKeys = ['OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'];

export const collectorExpected =
  'the http or https URL of an OpenTelemetry collector, such as http://localhost:4318, without a user or a password: OTEL_EXPORTER_OTLP_HEADERS takes those';

function isDisabled({ OTEL_SDK_DISABLED: disabled }: { readonly OTEL_SDK_DISABLED?: string | undefined }): boolean {
  return disabled?.toLowerCase() === 'true';
}
