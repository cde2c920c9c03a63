import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { RondoError } from '../errors.js';
import type { Service } from '../lifecycle.js';
import { partOf, type Watched } from './liveness.js';
import type { Exposition } from './metrics.js';

export interface ProbesInput {
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly read: () => Promise<Exposition>;
  /** The parts of the process, or why it is not to be sent any work. */
  readonly parts: () => readonly Watched[] | 'starting' | 'stopping';
}

/**
 * A port for machines that look after the process, whatever its roles: `/metrics`, `/livez` and `/readyz`, for anybody
 * who reaches it.
 */
export function createProbes({ host, port, read, parts }: ProbesInput): Service & { address(): string } {
  const routes: Record<string, (response: ServerResponse) => Promise<void>> = {
    '/metrics': async (response) => {
      const { contentType, text } = await read();
      answer(response, 200, contentType, text);
    },
    '/livez': async (response) => answerJson(response, 200, { status: 'alive' }),
    '/readyz': async (response) => {
      const found = await readiness(parts());
      answerJson(response, found.status === 'ready' ? 200 : 503, found);
    },
  };
  const server = createServer((request, response) => {
    const route = routes[pathOf(request)];
    if (!route)
      return answerJson(response, 404, { status: 404, detail: `there are ${Object.keys(routes).join(', ')}` });
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return answerJson(response, 405, { status: 405, detail: 'GET and HEAD alone' }, { allow: 'GET, HEAD' });
    }
    route(response).catch((error) => answerJson(response, 500, { status: 500, detail: String(error) }));
  });
  return {
    name: 'probes',
    address: () => `http://${host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`,
    async start() {
      server.listen(port, host).unref();
      try {
        await once(server, 'listening');
      } catch (cause) {
        const { code } = cause as { code?: string };
        const why = code === 'EADDRINUSE' ? 'something listens there already' : (cause as Error).message;
        throw new RondoError('port-unusable', `HOST is ${host} and RONDO_METRICS_PORT ${port}: ${why}`, { cause });
      }
    },
    async stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function pathOf({ url = '' }: IncomingMessage): string {
  return url.replace(/\?.*$/, '');
}

async function readiness(parts: ReturnType<ProbesInput['parts']>) {
  if (typeof parts === 'string') return { status: 'unready', reason: parts, parts: {} };
  const found = await Promise.all(parts.map(partOf));
  const shown = found.map(({ role, trouble }) => [
    role,
    trouble === null ? { status: 'ready' } : { status: 'unready', reason: trouble },
  ]);
  const ready = found.every(({ trouble }) => trouble === null);
  return { status: ready ? 'ready' : 'unready', parts: Object.fromEntries(shown) };
}

function answerJson(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Record<string, string> = {},
): void {
  answer(response, status, 'application/json; charset=utf-8', JSON.stringify(body), headers);
}

function answer(
  response: ServerResponse,
  status: number,
  type: string,
  body: string,
  headers: Record<string, string> = {},
): void {
  const always = { 'content-type': type, 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' };
  response.writeHead(status, { ...always, ...headers }).end(body);
}
