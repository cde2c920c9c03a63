import { expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { createClient, type PayloadOf, type ResultOf } from '../../src/client/index.js';
import { defineJob } from '../../src/jobs/define-job.js';

const jobs = [
  defineJob({
    name: 'send-email',
    payload: z.object({ to: z.string(), copies: z.number().default(1) }),
    run: () => ({ sentAt: new Date(), parts: [1, 'two'] as [number, string] }),
  }),
  defineJob({ name: 'tidy', run: () => {} }),
];
type Jobs = typeof jobs;

// Never called: what counts is whether it compiles, which `npm run check` finds out.
const wrong = async () => {
  const client = createClient<Jobs>({ url: 'http://localhost', key: 'key' });
  await client.enqueue('send-email', { to: 'a@example.com' }, { delay: '5m', deduplicate: { key: 'a', ttl: '1h' } });
  await client.enqueue('tidy');
  // @ts-expect-error no such job
  await client.enqueue('send-mail', { to: 'a@example.com' });
  // @ts-expect-error a payload that lacks what must be there
  await client.enqueue('send-email', {});
  // @ts-expect-error no payload, where one is wanted
  await client.enqueue('send-email');
  // @ts-expect-error a field of another type
  await client.enqueue('send-email', { to: 42 });
  // @ts-expect-error a field that the job does not take
  await client.enqueue('send-email', { to: 'a@example.com', bcc: 'b@example.com' });
  // @ts-expect-error no such option
  await client.enqueue('tidy', {}, { dealy: '5m' });
  // @ts-expect-error no duration
  await client.enqueue('tidy', {}, { delay: '5 minutes' });
  // @ts-expect-error a wrong payload among many
  await client.enqueueBulk('send-email', [{ payload: { to: 'a@example.com' } }, { payload: { to: 1 } }]);
  // @ts-expect-error no such job
  await client.waitFor('send-mail', '1');
  await client.schedules.put('mails', { job: 'send-email', every: '1h', payload: { to: 'a@example.com' } });
  // @ts-expect-error the payload of another job
  await client.schedules.put('mails', { job: 'send-email', every: '1h', payload: { from: 'a@example.com' } });
  // @ts-expect-error two kinds of times
  await client.schedules.put('tidy', { job: 'tidy', every: '1h', cron: '* * * * *' });
  const run = await client.waitFor('send-email', '1');
  // @ts-expect-error a run that may have failed has no result yet
  run.result.sentAt;
  if (run.state === 'completed') expectTypeOf(run.result).toEqualTypeOf<ResultOf<Jobs, 'send-email'>>();
  expectTypeOf(run.state).toEqualTypeOf<'completed' | 'failed'>();
};

test('names, payloads and results are those of the jobs', () => {
  expectTypeOf<PayloadOf<Jobs, 'send-email'>>().toEqualTypeOf<{ to: string; copies?: number | undefined }>();
  // As JSON has it.
  expectTypeOf<ResultOf<Jobs, 'send-email'>>().toEqualTypeOf<{ sentAt: string; parts: [number, string] }>();
  expectTypeOf<ResultOf<Jobs, 'tidy'>>().toEqualTypeOf<null>();
  expectTypeOf(createClient({ url: 'http://localhost', key: 'key' }).enqueue)
    .parameter(0)
    .toEqualTypeOf<string>();
  expect(wrong).toBeTypeOf('function');
});
