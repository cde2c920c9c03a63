import { expect, it } from 'vitest';
import { type Query, relayOutbox } from '../../src/client/index.js';
import { prompt } from '../support/prompt.js';

it('a row that is not taken yet keeps no other waiting', prompt, async () => {
  const stop = new AbortController();
  const enqueued: string[] = [];
  let next = 0;
  const row = (id: string) => ({ id, job: 'mail', payload: '{}', options: '{}' });
  // A table in which the same row comes due with every batch.
  const query: Query = async (text) => {
    if (!text.includes('FOR UPDATE')) return { rows: [] };
    return { rows: ['kept', `row-${next++}`, `row-${next++}`].map(row) };
  };
  const client = {
    async enqueue(_job: string, _payload: unknown, { idempotencyKey = '' }) {
      if (idempotencyKey === 'kept') throw new Error('disabled');
      if (enqueued.push(idempotencyKey) >= 100) stop.abort();
    },
  };
  const startedAt = performance.now();
  await relayOutbox({ query, client, signal: stop.signal, idleMs: 1_000 });

  expect(enqueued.length).toBeGreaterThanOrEqual(100);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
});
