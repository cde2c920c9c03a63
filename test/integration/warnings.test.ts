import { expect, it } from 'vitest';
import { begin, settle } from '../../src/broker/ledger.js';
import { iterationId } from '../../src/broker/repeat.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { wantedOf } from '../../src/producers/plan.js';
import { updateEntry } from '../../src/producers/store.js';
import { warningsNow } from '../../src/producers/warn.js';
import { fixture } from '../support/harness.js';

const second = 1_000;

it('a plan warns by what the ledger has measured, of the schedules of others too', async () => {
  const schedules = ['slow', 'quick', 'new', 'removed'].map((id) => ({ id, every: '10s' as const }));
  const { broker } = await fixture([]);
  const wanted = wantedOf(createRegistry([defineJob({ name: 'work', schedules, run: () => null })]));
  const now = Date.now();
  const ran = async (schedule: string, ...durations: number[]) => {
    const of = { job: 'work', schedule };
    const first = now - durations.length * 10 * second;
    await begin(broker, of, first, first);
    for (const [index, took] of durations.entries()) {
      const due = first + index * 10 * second;
      const times = { time: due, due, claimed: due, started: due, finished: due + took };
      await settle(broker, of, { ...times, run: iterationId(schedule, due), attempts: 1, outcome: 'succeeded' });
    }
  };
  await ran('slow', 12 * second, 20, 12_500, 13 * second);
  await ran('quick', 12 * second, 20, 30, 40);
  await ran('theirs', 60 * second);
  await ran('removed', 60 * second);
  const store = async (id: string, owner: string) => {
    const [like] = wanted;
    if (like) await updateEntry(broker, id, () => ({ ...like, owner, release: '1' }));
  };
  await store('theirs', 'api');
  await store('removed', 'code:shop');
  await broker.client.set(`${broker.keys.queuePrefix('work')}:ticks:new`, 'a hand wrote this');

  const warnings = await warningsNow(broker, { app: 'shop', wanted: wanted.filter(({ id }) => id !== 'removed'), now });

  expect(warnings).toEqual([
    {
      kind: 'overlaps-itself',
      schedules: ['slow'],
      durationMs: 12_500,
      intervalMs: 10 * second,
      message: 'it runs for 13s, and ticks 10s apart',
    },
    expect.objectContaining({ kind: 'overlaps-itself', schedules: ['theirs'], durationMs: 60 * second }),
  ]);
});
