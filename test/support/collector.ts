import type { IncomingMessage } from 'node:http';
import { eventually } from './harness.js';
import { listen } from './http.js';

/** A span as a collector gets it. */
export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty where the trace begins with it. */
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: 'internal' | 'server' | 'client' | 'producer' | 'consumer' | 'unspecified';
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly events: readonly string[];
  readonly status: { readonly code: 'unset' | 'ok' | 'error'; readonly message: string };
  /** Of the process that it comes from. */
  readonly resource: Readonly<Record<string, unknown>>;
}

/**
 * An endpoint of OTLP over HTTP on loopback, which reads the protobuf that it is sent; closed when the test is over.
 *
 * @param status what it answers, until `answers` says otherwise; null for never
 */
export async function startCollector(status: number | null = 200) {
  const spans: CollectedSpan[] = [];
  const answers = { status };
  const texts: string[] = [];
  const requests: IncomingMessage[] = [];
  const { url } = await listen(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    requests.push(request);
    if (answers.status === null) return;
    const body = Buffer.concat(chunks);
    if (answers.status === 200) spans.push(...spansIn(body));
    texts.push(body.toString('latin1'));
    response.writeHead(answers.status, { 'content-type': 'application/x-protobuf' }).end();
  });
  return {
    url,
    /** What it has taken. */
    spans,
    answers,
    /** All that came, taken or not. */
    requests,
    /** What came, for what must not be in it. */
    text: () => texts.join('\n'),
    /** The first span that matches, here already or to come. */
    span: (matches: (span: CollectedSpan) => boolean) => eventually(() => spans.find(matches)),
  };
}

const kinds = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'] as const;
const codes = ['unset', 'ok', 'error'] as const;

/** Reads an ExportTraceServiceRequest; the numbers of the fields are those of opentelemetry-proto. */
function spansIn(request: Buffer): CollectedSpan[] {
  return messages(request, 1).flatMap((ofResource) => {
    const resource = messages(ofResource, 1).map((it) => attributesIn(it, 1))[0] ?? {};
    return messages(ofResource, 2).flatMap((ofScope) => messages(ofScope, 2).map((span) => spanIn(span, resource)));
  });
}

function spanIn(span: Buffer, resource: CollectedSpan['resource']): CollectedSpan {
  const status = messages(span, 15)[0] ?? Buffer.alloc(0);
  return {
    traceId: bytes(span, 1).toString('hex'),
    spanId: bytes(span, 2).toString('hex'),
    parentSpanId: bytes(span, 4).toString('hex'),
    name: bytes(span, 5).toString(),
    kind: kinds[Number(numbers(span, 6)[0] ?? 0n)] ?? 'unspecified',
    attributes: attributesIn(span, 9),
    events: messages(span, 11).map((event) => bytes(event, 2).toString()),
    status: { code: codes[Number(numbers(status, 3)[0] ?? 0n)] ?? 'unset', message: bytes(status, 2).toString() },
    resource,
  };
}

function attributesIn(message: Buffer, field: number): Record<string, unknown> {
  return Object.fromEntries(
    messages(message, field).map((pair) => [bytes(pair, 1).toString(), valueIn(messages(pair, 2)[0])]),
  );
}

function valueIn(value: Buffer | undefined): unknown {
  if (!value) return undefined;
  const [field] = fieldsOf(value);
  switch (field?.number) {
    case 1:
      return String(field.value);
    case 2:
      return field.value === 1n;
    case 3:
      return Number(BigInt.asIntN(64, field.value as bigint));
    case 4:
      return (field.value as Buffer).readDoubleLE();
    case 5:
      return messages(field.value as Buffer, 1).map(valueIn);
    default:
      return undefined;
  }
}

const messages = (message: Buffer, number: number) =>
  fieldsOf(message).flatMap((field) => (field.number === number && Buffer.isBuffer(field.value) ? [field.value] : []));
const bytes = (message: Buffer, number: number) => messages(message, number)[0] ?? Buffer.alloc(0);
const numbers = (message: Buffer, number: number) =>
  fieldsOf(message).flatMap((field) => (field.number === number && typeof field.value === 'bigint' ? field.value : []));

/** Protobuf's wire format: varints as numbers, all else as bytes. */
function fieldsOf(message: Buffer): { readonly number: number; readonly value: bigint | Buffer }[] {
  const fields: { number: number; value: bigint | Buffer }[] = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message.readUInt8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number) => {
    if (at + length > message.length) throw new RangeError('a field that is longer than its message');
    at += length;
    return message.subarray(at - length, at);
  };
  while (at < message.length) {
    const tag = Number(varint());
    const wire = tag & 7;
    if (![0, 1, 2, 5].includes(wire)) throw new RangeError(`wire type ${wire}`);
    const value = wire === 0 ? varint() : take(wire === 2 ? Number(varint()) : wire === 1 ? 8 : 4);
    fields.push({ number: tag >> 3, value });
  }
  return fields;
}
