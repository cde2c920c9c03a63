import { z } from 'zod';
import { defineJob, type ScheduleOptions } from '../define-job.js';
import type { Allowance, Resolve } from '../guarded-agent.js';
import { createCaller, failureOf, headersSchema, httpUrlSchema, isSuccess } from '../guarded-call.js';

export interface HttpRequestSettings {
  /**
   * Hosts, addresses and networks that may be called though they are not public. In the catalog they are those of
   * `HTTP_REQUEST_ALLOW`; a jobs module of one's own names them here.
   */
  readonly allow?: Allowance;
  /**
   * When to call what: `{ id: 'ping', every: '1m', payload: { url: 'https://example.com/ping' } }`. Like `defineJob`'s.
   */
  readonly schedules?: readonly ScheduleOptions<z.input<typeof payloadSchema>>[];
  /** How names are resolved, instead of the system's way. */
  readonly resolve?: Resolve;
}

const keptBytes = 64 * 1_024;

const payloadSchema = z.strictObject({
  url: httpUrlSchema,
  method: z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']).default('GET'),
  headers: headersSchema.default({}),
  /** Text is sent as it is, anything else as JSON. */
  body: z.json().optional(),
  /** Statuses that count as success; all of 200 to 299 unless told. */
  expect: z.array(z.int().min(100).max(599)).min(1).optional(),
});

/**
 * Calls a URL: what a cron beside a `curl` does, with retries and a record. For a jobs module as well:
 * `export default [httpRequest({ schedules: [ … ] })]`.
 */
export function httpRequest({ allow = [], schedules = [], resolve }: HttpRequestSettings = {}) {
  const call = createCaller(allow, resolve);
  return defineJob({
    name: 'http-request',
    description: 'Calls a URL and expects a status',
    payload: payloadSchema,
    secret: ['headers.*'],
    schedules,
    retry: { attempts: 5, delay: '2s', maxDelay: '10m' },
    concurrency: 20,
    async run({ payload: { expect, ...payload }, signal, traceparent }) {
      const isExpected = (status: number) => (expect ? expect.includes(status) : isSuccess(status));
      const startedAt = performance.now();
      const { response, url } = await call(payload, { signal, traceparent, isExpected });
      const { statusCode: status, headers } = response;
      const { body, truncated } = await beginningOf(response.body);
      if (!isExpected(status)) throw failureOf(status, headers['retry-after']);
      return { status, durationMs: Math.round(performance.now() - startedAt), url, body, truncated };
    },
  });
}

async function beginningOf(stream: AsyncIterable<Buffer>): Promise<{ body: string; truncated: boolean }> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > keptBytes) break;
  }
  const kept = Buffer.concat(chunks).subarray(0, keptBytes);
  const truncated = size > keptBytes;
  // As a stream, so that a character that was cut in two at the end is left out.
  return { body: new TextDecoder().decode(kept, { stream: truncated }), truncated };
}
