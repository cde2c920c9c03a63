import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { expect, onTestFinished } from 'vitest';
import { type ApiKey, type Scope, scopes } from '../../src/config.js';

export const secretOf = (name: string) => `secret-of-${name}-0123456789`;

export function apiKey(name: string, allowed: readonly Scope[], secret = secretOf(name)): ApiKey {
  return { name, digest: createHash('sha256').update(secret).digest(), scopes: allowed };
}

/** A key for each scope, of the same name. */
export const keyPerScope = scopes.map((scope) => apiKey(scope, [scope]));

export interface Call {
  /** The name of the key to use; `admin` unless told, none with null. */
  readonly key?: string | null;
  readonly headers?: Record<string, string>;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is. */
  readonly body?: string | Uint8Array<ArrayBuffer>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: what came is what the test is about
  readonly body: any;
}

/** An API that is listened to, and how to call it. */
export interface Api {
  readonly url: string;
  call(method: string, path: string, call?: Call): Promise<Answer>;
  stop(): Promise<void>;
}

export function callsTo(url: string, stop: () => Promise<void> = async () => {}): Api {
  return {
    url,
    stop,
    async call(method, path, { key = 'admin', headers = {}, json, body } = {}) {
      const response = await fetch(url + path, {
        method,
        redirect: 'manual',
        headers: {
          ...(key !== null && { authorization: `Bearer ${secretOf(key)}` }),
          ...(json !== undefined && { 'content-type': 'application/json' }),
          ...headers,
        },
        body: json === undefined ? (body ?? null) : JSON.stringify(json),
      });
      const text = await response.text();
      const isJson = /json/.test(response.headers.get('content-type') ?? '');
      return { status: response.status, headers: response.headers, body: isJson && text ? JSON.parse(text) : text };
    },
  };
}

/** An answer is problem details (RFC 9457) of this code, and tells no secret. */
export function expectProblem(answer: Answer, status: number, code: string, more: object = {}): void {
  expect({ status: answer.status, body: answer.body }).toMatchObject({ status, body: { status, code, ...more } });
  expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
  expect(answer.body).toMatchObject({ type: `urn:rondo:problem:${code}`, title: expect.stringMatching(/^[A-Z]/) });
  expect(JSON.stringify(answer.body)).not.toContain('secret-of-');
}

/** Sends bytes over a connection of its own, for what no client would send; resolves to all that came back. */
export async function sendRaw(url: string, text: string | Buffer): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on('error', () => {}); // it may be closed before all is sent
  let answer = '';
  socket.setEncoding('utf8').on('data', (data: string) => {
    answer += data;
  });
  socket.write(text);
  await once(socket, 'close', { signal: AbortSignal.timeout(30_000) });
  return answer;
}

export interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** A server on loopback, on any port that is free; closed when the test is over. */
export async function listen(answer: RequestListener, host = '127.0.0.1') {
  const server = createServer(answer).listen(0, host);
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { server, port, url: `http://${host.includes(':') ? `[${host}]` : host}:${port}` };
}

/** A server that others are made to call: what it has received. */
export async function startTarget(answer: RequestListener, host = '127.0.0.1') {
  const received: Received[] = [];
  const listening = await listen(async (request, response) => {
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) body += chunk;
    received.push({ method: String(request.method), url: String(request.url), headers: request.headers, body });
    answer(request, response);
  }, host);
  return { received, ...listening };
}
