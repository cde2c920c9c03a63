import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { NonRetryableError } from '../../src/errors.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { readChains } from '../../src/producers/chains.js';
import { enqueue } from '../../src/producers/runs.js';
import { hasChromium, launchBrowser, visit } from '../support/browser.js';
import { eventually, type Fixture, fixture } from '../support/harness.js';
import { secretOf, startTarget } from '../support/http.js';

const hour = 3_600_000;

describe.skipIf(!hasChromium())('the board in a browser', { timeout: 120_000 }, () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser?.close());

  /** A board with jobs, served and worked on, and somebody who looks at it. */
  async function open(now?: () => number) {
    let broken = true;
    const jobs = [
      defineJob({
        name: 'heartbeat',
        description: 'Says that all is well',
        schedules: [{ id: 'heartbeat', cron: '* * * * * *' }],
        run: ({ log }) => {
          log.info('alive');
          return { pulse: 61 };
        },
      }),
      defineJob({
        name: 'billing-invoice',
        description: 'Sends an invoice',
        payload: z.object({ to: z.string() }),
        retry: { attempts: 4 },
        run: ({ payload }) => ({ invoiced: payload.to }),
      }),
      defineJob({
        name: 'billing-report',
        description: 'Prints the report of the month',
        schedules: [{ id: 'billing-report', cron: '0 7 1 * *', timezone: 'Europe/Paris' }],
        run: () => {
          if (broken) throw new NonRetryableError('the printer is out of paper');
          return 'printed';
        },
      }),
    ] as const;
    const parts = await fixture(jobs);
    const api = await parts.serve(now ? { now } : {});
    const visitor = await visit(browser, api.url);
    const [, invoice, report] = jobs;
    return {
      ...parts,
      ...visitor,
      api,
      invoice,
      report,
      mend: () => {
        broken = false;
      },
    };
  }

  describe('signs in', () => {
    it('who has a key, and nobody else', async () => {
      const { page, signIn } = await open();
      await page.goto('/board');
      expect(new URL(page.url()).pathname).toBe('/login');

      for (const wrong of ['wrong', `${secretOf('admin')}x`, '<script>alert(1)</script>']) {
        await page.getByLabel('Key').fill(wrong);
        await page.getByRole('button', { name: 'Sign in' }).click();
        expect(await page.getByRole('alert').textContent()).toBe('That is no key of this server.');
        expect(await page.content()).not.toContain(wrong);
      }

      await signIn('read');
      await page.getByRole('link', { name: 'heartbeat' }).first().waitFor();
    });

    it('and leads to where one wanted to go', async () => {
      const { page } = await open();
      await page.goto('/board/queue/billing-invoice?status=failed');
      await page.getByLabel('Key').fill(` ${secretOf('read')} `); // as it comes out of a clipboard
      await page.keyboard.press('Enter');
      await page.waitForURL('**/board/queue/billing-invoice?status=failed');
      await page.getByText('Sends an invoice').waitFor();
    });

    it('and never leads elsewhere', async () => {
      const { page, signIn, api } = await open();
      await signIn('read', '//evil.example/');
      expect(page.url()).toBe(`${api.url}/board`);
    });

    it('with a cookie that scripts do not see, for 12 hours', async () => {
      const { page, context, signIn } = await open();
      const before = Date.now() / 1_000;
      await signIn('read');
      const [cookie, ...others] = await context.cookies();
      expect(others).toEqual([]);
      expect(cookie).toMatchObject({ name: 'rondo_session', httpOnly: true, sameSite: 'Strict', path: '/' });
      expect(Math.abs(Number(cookie?.expires) - before - (12 * hour) / 1_000)).toBeLessThan(60);
      expect(await page.evaluate('document.cookie')).toBe('');
    });

    it('until the session is over', async () => {
      let aheadMs = 0;
      const { page, context, signIn, fetch, api } = await open(() => Date.now() + aheadMs);
      await signIn('read');
      const [cookie] = await context.cookies();
      aheadMs = 12 * hour + 1;

      expect(await fetch('GET', '/board/api/queues')).toMatchObject({
        status: 401,
        body: { error: 'A key is wanted' },
      });
      await page.goto('/board');
      expect(new URL(page.url()).pathname).toBe('/login');

      aheadMs = 0;
      const tampered = String(cookie?.value).replace('read', 'admin');
      await context.addCookies([{ name: 'rondo_session', value: tampered, url: api.url }]);
      await page.goto('/board');
      expect(new URL(page.url()).pathname).toBe('/login');
    });

    it('and out again', async () => {
      const { page, context, signIn, fetch } = await open();
      await signIn('operate');
      await page.goto('/logout');
      await page.getByText('Signed in with the key “operate”.').waitFor();
      await page.getByRole('link', { name: 'Back to the board' }).click();
      await page.getByRole('link', { name: 'heartbeat' }).first().waitFor();

      await page.goto('/logout');
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.waitForURL('**/login');
      expect(await context.cookies()).toEqual([]);
      expect((await fetch('GET', '/board/api/queues')).status).toBe(401);
      await page.goto('/board');
      expect(new URL(page.url()).pathname).toBe('/login');
    });
  });

  describe('shows', () => {
    it('a scheduled and an ad-hoc run complete', async () => {
      const { page, signIn, work, produce, api } = await open();
      await work();
      await produce();
      await signIn('read');

      await page.goto('/board/queue/heartbeat?status=completed');
      await page
        .getByText(/^repeat:heartbeat:\d+$/)
        .first()
        .waitFor();
      await page.getByText('pulse').first().waitFor();

      await page.goto('/board/queue/billing-invoice?status=completed');
      await page.getByText('No completed jobs in this queue.').waitFor();
      const json = { payload: { to: 'Ada' } };
      const { body } = await api.call('POST', '/v1/jobs/billing-invoice/runs', { json });
      // By itself, as the page is brought up to date.
      await page
        .getByText(/"?invoiced"?/)
        .first()
        .waitFor();
      await page.goto(`/board/queue/billing-invoice/${body.id}`);
      await page.getByText('Finished at').waitFor();
    });

    it('jobs in groups, with what they do and when', async () => {
      const { page, signIn } = await open();
      await signIn('read');
      const groups = page.getByRole('navigation');
      await groups.getByRole('button', { name: 'billing 2' }).waitFor();
      expect(await groups.getByRole('link').allTextContents()).toEqual(['invoice', 'report', 'heartbeat']);
      await page.goto('/board/queue/billing-report');
      const words = 'Prints the report of the month · At 07:00, on day 1 of the month (Europe/Paris) (set in code)';
      await page.getByText(words).waitFor();
    });

    it('every page without a complaint of the browser, and asks nobody else for anything', async () => {
      const { page, signIn, produce, work, events, complaints } = await open();
      await work();
      await produce();
      const { run } = await events.next('run.succeeded', ({ job }) => job === 'heartbeat');
      await signIn('operate');
      await page.getByRole('link', { name: 'heartbeat' }).first().waitFor();
      await page.goto('/board/queue/heartbeat?status=completed');
      await page.getByText(run).waitFor();
      await page.goto(`/board/queue/heartbeat/${encodeURIComponent(run)}`);
      await page.getByRole('tab', { name: 'Logs' }).click();
      await page.getByText('alive').waitFor();
      await page.goto('/board/job-schedulers');
      await page.getByText('0 7 1 * * (Europe/Paris)').waitFor();
      await page.goto('/logout');
      await page.goto('/login');
      expect(complaints).toEqual([]);
    });
  });

  describe('lets who may operate', () => {
    it('retry a failed run', async () => {
      const { page, signIn, work, broker, report, events, mend } = await open();
      await work();
      const id = await enqueue(broker, report, {});
      await events.next('run.failed', ({ run }) => run === id);
      await signIn('operate', '/board/queue/billing-report?status=failed');
      await page.getByText('the printer is out of paper').first().waitFor();

      mend();
      await actionOf(page, 'refresh-cw').click();
      await page.getByRole('button', { name: 'Confirm' }).click();

      await events.next('run.succeeded', ({ run }) => run === id);
      await page.getByText('No failed jobs in this queue.').waitFor();
    });

    it('add a run, if the key may enqueue, with the payload checked and the job’s own policies', async () => {
      const { signIn, fetch, broker } = await open();
      const add = (data: object) =>
        fetch('POST', '/board/api/queues/billing-invoice/add', {
          name: 'x',
          data,
          options: { delay: 5_000, repeat: { every: 1 } },
        });
      await signIn('operate');
      expect(await add({ to: 'Ada' })).toMatchObject({ status: 403, body: { message: '"operate" may not enqueue' } });

      await signIn('admin');
      const refused = await add({ to: 5 });
      expect(refused).toMatchObject({ status: 422, body: { error: "The payload does not fit the job's schema" } });
      expect(refused.body.message).toContain('payload.to: expected a string; got 5');
      expect((await add({ to: 'Ada' })).status).toBe(200);
      const [run, ...others] = await broker.queue('billing-invoice').getJobs();
      expect(others).toEqual([]);
      expect(run).toMatchObject({
        name: 'billing-invoice',
        opts: { attempts: 4, delay: 5_000, backoff: { type: 'rondo' } },
      });
      expect(await broker.queue('billing-invoice').getJobSchedulersCount()).toBe(0);
    });
  });

  it('offers no action to a key that may read, and refuses what it sends all the same', async () => {
    const { page, signIn, fetch, broker, report, work, events } = await open();
    await work();
    const id = await enqueue(broker, report, {});
    await events.next('run.failed');
    const offered = async () => {
      await page.getByText('the printer is out of paper').first().waitFor();
      const places = [
        '[class^=headerActions] button',
        '[class^=queueActions] button',
        'main button[aria-haspopup=menu]',
      ];
      return Promise.all(places.map((place) => page.locator(place).count()));
    };
    await signIn('operate', '/board/queue/billing-report?status=failed');
    expect(await offered()).toEqual([4, 2, 1]);
    await signIn('read', '/board/queue/billing-report?status=failed');
    expect(await offered()).toEqual([0, 0, 0]);

    for (const path of [
      'pause',
      'promote',
      'retry/failed',
      'clean/failed',
      'empty',
      'obliterate',
      `${id}/retry`,
      `${id}/clean`,
    ]) {
      const { status } = await fetch('PUT', `/board/api/queues/billing-report/${path}`, {});
      expect([403, 405], `${path} ${status}`).toContain(status);
    }
    const added = await fetch('POST', '/board/api/queues/billing-report/add', { data: {} });
    expect([403, 405]).toContain(added.status);
    const patched = await fetch('PATCH', `/board/api/queues/billing-report/${id}/update-data`, { jobData: { a: 1 } });
    expect([403, 405]).toContain(patched.status);
    await fetch('PUT', '/board/api/queues/pause'); // of all that may be written to, which are none

    const queue = broker.queue('billing-report');
    expect(await queue.isPaused()).toBe(false);
    expect(await queue.getJobCounts('failed', 'wait', 'delayed')).toEqual({ failed: 1, wait: 0, delayed: 0 });
    expect((await queue.getJob(id))?.data).toEqual({});
  });

  it('refuses what a page of another origin sends with the cookie of who is signed in', async () => {
    const { page, api, signIn, broker, context } = await open();
    await signIn('admin');
    const form = (action: string) =>
      `<form method="post" enctype="text/plain" action="${action}"><input name='{"data":{"to":"evil"},"x":"' value='"}'><button>Go</button></form>`;
    const target = await startTarget(({ url }, response) => {
      response.setHeader('content-type', 'text/html').end(form(api.url + String(url)));
    });
    // Another port is another origin, and yet the same site: the cookie goes along.
    for (const path of [
      '/board/api/queues/billing-invoice/add',
      '/v1/jobs/billing-invoice/runs',
      '/logout',
      '/login',
    ]) {
      await page.goto(target.url + path);
      const answered = page.waitForResponse((response) => response.url() === api.url + path);
      await page.getByRole('button', { name: 'Go' }).click();
      const response = await answered;
      expect(await response.request().headerValue('cookie')).toContain('rondo_session=');
      expect(await response.json()).toMatchObject({ status: 403, code: 'origin-refused', detail: target.url });
    }
    expect(await broker.queue('billing-invoice').getJobCountByTypes('wait')).toBe(0);
    expect(await context.cookies()).toHaveLength(1);
  });

  describe('leaves schedules to Rondo', () => {
    it('and says where they are changed, offering no edit', async () => {
      const { page, signIn, produce } = await open();
      await produce();
      await signIn('admin', '/board/job-schedulers');
      await page.getByText('0 7 1 * * (Europe/Paris)').waitFor();
      expect(await page.getByRole('button', { name: 'Run now' }).count()).toBe(2);
      expect(await page.getByRole('button', { name: /Edit schedule|Remove scheduler/ }).count()).toBe(0);
      const note = await page.evaluate(
        `getComputedStyle(document.querySelector('table').parentElement, '::after').content`,
      );
      expect(note).toContain('change them where the job is defined; `rondo schedules plan` shows what that does');
    });

    it('refuses with a word whatever would change or remove one', async () => {
      const { signIn, produce, fetch, broker, page } = await open();
      await produce();
      await signIn('admin');
      const queue = broker.queue('billing-report');
      const before = await queue.getJobScheduler('billing-report');
      await queue.pause();
      const next = encodeURIComponent(`repeat:billing-report:${before?.next}`);
      const base = '/board/api/queues/billing-report';
      const where = /change them where the job is defined/;

      for (const [method, path, body, message] of [
        ['PATCH', '/job-schedulers/billing-report', { pattern: '* * * * *' }, where],
        ['PUT', '/job-schedulers/billing-report/remove', {}, where],
        ['PATCH', `/${next}/delay`, { runAt: Date.now() + 8_760 * hour }, where],
        ['PUT', '/obliterate', { force: true }, /take the job's schedules along/],
      ] as const) {
        const answer = await fetch(method, base + path, body);
        expect(answer, path).toMatchObject({ status: 403, body: { message: expect.stringMatching(message) } });
      }
      expect(await queue.getJobScheduler('billing-report')).toEqual(before);

      await queue.resume();
      await page.goto(`/board/queue/billing-report/${next}`);
      await actionOf(page, 'trash-2').click();
      await page.getByRole('button', { name: 'Confirm' }).click();
      await page.getByText('Remove the whole schedule?').waitFor();
      await page.getByRole('button', { name: 'Confirm' }).click();
      await page.getByText(where).waitFor();
      expect(await queue.getJobScheduler('billing-report')).toEqual(before);
    });

    it('which are sound again within 30 s after whatever a person did to their runs', async () => {
      const acts = ['promote', 'promote-all', 'remove', 'empty', 'clean', 'pause', 'run', 'retry'] as const;
      const names = acts.map((act) => `s-${act}`);
      const jobs = names.map((name) =>
        defineJob({
          name,
          schedules: [{ id: name, every: '300d', triggerOnStart: name === 's-retry' }],
          run: () => name,
        }),
      );
      const { serve, work, produce, broker, events } = await fixture(jobs);
      const api = await serve();
      await work();
      await produce();
      const { run: finished } = await events.next('run.succeeded', ({ job }) => job === 's-retry');
      const { page, signIn } = await visit(browser, api.url);
      await signIn('operate');
      const next = async (name: string) => {
        const { next } = (await broker.queue(name).getJobScheduler(name)) ?? {};
        return `repeat:${name}:${next}`;
      };
      const put = async (name: string, path: string) => {
        const { status, body } = await api.call('PUT', `/board/api/queues/${name}/${path}`, {
          key: 'operate',
          json: {},
        });
        expect([200, 204, 400], `${name} ${JSON.stringify(body)}`).toContain(status);
      };

      await page.goto(`/board/queue/s-promote/${encodeURIComponent(await next('s-promote'))}`);
      await actionOf(page, 'corner-up-left').click();
      await page.getByRole('button', { name: 'Confirm' }).click();
      await events.next('run.succeeded', ({ job }) => job === 's-promote');
      await put('s-promote-all', 'promote');
      await events.next('run.succeeded', ({ job }) => job === 's-promote-all');
      await put('s-remove', `${encodeURIComponent(await next('s-remove'))}/clean`);
      await put('s-empty', 'empty');
      await put('s-clean', 'clean/delayed');
      await put('s-pause', 'pause');
      await put('s-pause', `${encodeURIComponent(await next('s-pause'))}/promote`);
      await put('s-pause', 'resume');
      await put('s-run', 'job-schedulers/s-run/run');
      await put('s-retry', `${finished}/retry`);
      const actedAt = Date.now();

      await eventually(() => areSound({ broker }, names), 30_000);
      console.log(`all sound ${Date.now() - actedAt} ms after the last act`);
      await events.next('run.succeeded', ({ job }) => job === 's-pause');
      await events.next('run.succeeded', ({ job }) => job === 's-run');
      const retried = () => events.of('run.succeeded').filter(({ job, run }) => job === 's-retry' && run === finished);
      await eventually(() => retried().length === 2);
      // And none runs twice: one tick is to come for each.
      await eventually(() => areSound({ broker }, names), 30_000);
      for (const name of names) expect(await broker.queue(name).getJobCountByTypes('delayed'), name).toBe(1);
    });
  });
});

/** A button beside a run, by its icon: Bull Board names them in tooltips alone. */
function actionOf(page: Page, icon: string) {
  return page.locator(`[class^=headerActions] button:has(.lucide-${icon})`).first();
}

/** Each schedule has a next tick ahead, and its run to come. */
async function areSound({ broker }: Pick<Fixture, 'broker'>, names: readonly string[]): Promise<boolean> {
  const chains = await readChains(broker, new Map(names.map((name) => [name, [name]])));
  return names.every((name) => {
    const chain = chains.get(name);
    return chain?.iteration === 'delayed' && Number(chain.next) > Date.now();
  });
}
