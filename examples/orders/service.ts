import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createClient, RondoApiError } from 'rondo/client';
// Types alone: nothing of the jobs, nor of what they need, comes along.
import type jobs from './jobs.js';

/** A shop that takes orders, and leaves the receipts to Rondo. */
export function createOrders(access: { readonly url: string; readonly key: string }): Server {
  const rondo = createClient<typeof jobs>(access);

  async function answer(request: IncomingMessage): Promise<{ status: number; body: unknown }> {
    const run = /^\/receipts\/([^/]+)$/.exec(request.url ?? '')?.[1];
    if (request.method === 'GET' && run) {
      const receipt = await rondo.waitFor('send-receipt', decodeURIComponent(run), { timeoutMs: 20_000 });
      return { status: 200, body: receipt.state === 'completed' ? receipt.result : { error: receipt.error } };
    }
    if (request.method !== 'POST' || request.url !== '/orders') return { status: 404, body: null };
    const { order, email } = JSON.parse(await bodyOf(request));
    // The order's own number is the key: a browser that sends the form twice causes one receipt.
    const { id } = await rondo.enqueue(
      'send-receipt',
      { order, to: email },
      { idempotencyKey: `order-${order}`, priority: 1 },
    );
    return { status: 202, body: { receipt: `/receipts/${encodeURIComponent(id)}` } };
  }

  return createServer(async (request, response) => {
    const { status, body } = await answer(request).catch((error: unknown) => {
      if (!(error instanceof RondoApiError)) return { status: 503, body: { error: 'try again' } };
      return { status: error.status, body: { error: error.code, problems: error.problems } };
    });
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) body += chunk;
  return body;
}
