import type { Browser, Page, Route } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ledgerKeys } from '../../src/broker/ledger-format.js';
import { packEntry, type TickOutcome } from '../../src/broker/tick-entry.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { readAudit } from '../../src/producers/audit.js';
import { pauseSchedule } from '../../src/producers/operations.js';
import { readStored } from '../../src/producers/store.js';
import { axeFindings, hasChromium, launchBrowser, visit } from '../support/browser.js';
import { eventually, type Fixture, fixture } from '../support/harness.js';
import { secretOf } from '../support/http.js';

const hour = 3_600_000;
const evil = '<script>document.title = "owned"</script><img src=x onerror="document.title=\'owned\'">';
/** As much of a reason as a ledger keeps. */
const said = `it said ${evil}`.slice(0, 80);

describe.skipIf(!hasChromium())('the Schedules page in a browser', { timeout: 120_000 }, () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser?.close());

  /** Schedules that a producer has put, an api, and somebody who looks at it. The producer has gone again. */
  async function open() {
    const jobs = [
      defineJob({
        name: 'digest',
        description: 'Mails the digest',
        payload: z.object({ region: z.string(), note: z.string().default('') }),
        overlap: 'skip',
        schedules: [
          {
            ...{
              id: 'digest-eu',
              cron: '0 7 * * 1-5',
              timezone: 'Europe/Paris',
              payload: { region: 'eu', note: evil },
            },
            description: `The digest of Europe ${evil}`,
          },
          { id: 'digest-us', cron: '0 7 * * 1-5', timezone: 'America/New_York', payload: { region: 'us' } },
        ],
        run: ({ payload }) => `sent to ${payload.region}`,
      }),
      defineJob({ name: 'pulse', schedules: [{ id: 'pulse', every: '1s' }], run: () => 'alive' }),
      defineJob({ name: 'report', schedules: [{ id: 'report', every: '1h' }], run: () => 'printed' }),
    ] as const;
    const parts = await fixture(jobs);
    const producer = await parts.produce();
    await parts.events.next('schedules.reconciled');
    const api = await parts.serve();
    const visitor = await visit(browser, api.url);
    return { ...parts, ...visitor, api, stopProducer: () => producer.stop(Date.now() + 1_000) };
  }

  describe('shows', () => {
    it('who has a key all schedules, those that want a look first, and strangers the way to sign in', async () => {
      const { page, stopProducer, broker, complaints } = await open();
      await stopProducer();
      await breakChain(broker, 'report');
      await note(broker, 'digest-us', 'digest', 'failed', said);

      await page.goto('/schedules?sort=name');
      expect(new URL(page.url()).pathname).toBe('/login');
      await page.getByLabel('Key').fill('wrong');
      await page.keyboard.press('Enter');
      expect(await page.getByRole('alert').textContent()).toBe('That is no key of this server.');
      await page.getByLabel('Key').fill(secretOf('read'));
      await page.keyboard.press('Enter');
      await page.waitForURL('**/schedules?sort=name');
      expect(await namesIn(page)).toEqual(['digest-eu', 'digest-us', 'pulse', 'report']);
      // The refused key is told of as such by the browser, too.
      expect(complaints.splice(0)).toEqual([expect.stringContaining('401')]);

      await page.getByRole('link', { name: 'Health' }).click();
      await page.waitForURL('**/schedules');
      expect((await namesIn(page)).slice(0, 2)).toEqual(expect.arrayContaining(['report']));
      const report = page.getByRole('row', { name: /report/ });
      expect(await report.textContent()).toMatch(/broken.*its next run is gone/s);
      const digest = page.getByRole('row', { name: /digest-us/ });
      expect(await digest.textContent()).toContain('At 07:00, Monday through Friday (America/New_York)');
      expect(await digest.textContent()).toMatch(/in \d+[dhms]/);
      expect(await digest.textContent()).toContain(`its last tick: failed, ${said}`);

      await page.getByRole('link', { name: /^need a look/ }).click();
      expect(await namesIn(page)).not.toContain('digest-eu');
      await page.goto('/schedules');
      await page.getByLabel('Search').fill('EUROPE');
      await page.keyboard.press('Enter');
      await page.waitForURL('**q=EUROPE**');
      expect(await namesIn(page)).toEqual(['digest-eu']);
      expect(complaints).toEqual([]);
    });

    it('a schedule with its ledger, its times and its rules, all that others wrote as text', async () => {
      const { page, signIn, stopProducer, broker, complaints } = await open();
      await stopProducer();
      const times = await note(broker, 'digest-eu', 'digest', 'succeeded', '', 30);
      await note(broker, 'digest-eu', 'digest', 'failed', said);
      await pauseSchedule(broker, 'digest-eu', { by: evil, note: evil, until: null, now: Date.now() });
      await signIn('read', '/schedules/digest-eu');

      const text = await page.locator('main').innerText();
      expect(text).toContain(`The digest of Europe ${evil}`);
      expect(text).toContain(`Paused by ${evil}`);
      expect(text).toContain(said);
      expect(text).toContain(`"note": ${JSON.stringify(evil)}`);
      expect(text).toContain('skip: the new tick is skipped');
      expect(await page.getByText(/CET|CEST/).count()).toBe(20);
      expect(await page.title()).toBe('digest-eu · Rondo');
      expect(await page.getByRole('img', { name: 'Durations of the last 31 runs' }).locator('rect').count()).toBe(31);

      const ledger = page.getByRole('region', { name: 'Ledger' }).getByRole('row');
      expect(await ledger.count()).toBe(26);
      await page.getByRole('link', { name: 'Older →' }).click();
      await page.waitForURL('**before=**');
      expect(await ledger.count()).toBe(7);

      const oldest = String(times[0]);
      await page.goto('/schedules');
      await page.locator('[data-live=digest-eu] path', { hasText: oldest }).click();
      await page.waitForURL(`**/schedules/digest-eu?at=${encodeURIComponent(oldest)}#ledger`);
      expect(await page.locator('tr[aria-current]').innerText()).toContain(oldest.slice(0, 10));
      expect(complaints).toEqual([]);
    });

    it('what happens while one looks, without being loaded again', async () => {
      const { page, signIn, work, events, complaints } = await open();
      await signIn('read', '/schedules/pulse');
      await page.evaluate('window.sameDocument = true');
      await work();
      await events.next('run.succeeded', ({ job }) => job === 'pulse');
      await page.getByRole('region', { name: 'Ledger' }).getByText('succeeded').first().waitFor();
      expect(await page.evaluate('window.sameDocument')).toBe(true);
      expect(await page.getByRole('status').textContent()).toBe('Live');
      expect(complaints).toEqual([]);
    });

    it('of the list how many want a look, that others are on it, and which have gone', async () => {
      const { page, signIn, stopProducer, broker, api, complaints } = await open();
      await stopProducer();
      const put = { json: { job: 'report', every: '1h' } };
      await api.call('PUT', '/v1/schedules/extra', put);
      await signIn('read', '/schedules?sort=name');
      expect(await namesIn(page)).toEqual(['digest-eu', 'digest-us', 'extra', 'pulse', 'report']);
      await page.getByRole('link', { name: 'all 5' }).waitFor();
      await breakChain(broker, 'report');
      await page.getByRole('link', { name: 'broken 1' }).waitFor();
      expect(await page.getByText('The list has changed').count()).toBe(0);

      await api.call('PUT', '/v1/schedules/newest', put);
      await api.call('DELETE', '/v1/schedules/extra');
      await page.getByText('It was removed').waitFor();
      expect(await page.getByRole('row', { name: /extra/ }).getByRole('link').count()).toBe(0);
      await page.getByText('The list has changed').waitFor();
      await screenshot(page, 'list-changed');
      expect(await axeFindings(page)).toEqual([]);
      await page.getByRole('link', { name: 'show it' }).click();
      await page.getByRole('row', { name: /newest/ }).waitFor();
      expect(await namesIn(page)).toEqual(['digest-eu', 'digest-us', 'newest', 'pulse', 'report']);
      expect(complaints).toEqual([]);
    });

    it('that a schedule was removed, and asks no more', async () => {
      const { page, signIn, api, complaints } = await open();
      await api.call('PUT', '/v1/schedules/extra', { json: { job: 'report', every: '1h' } });
      let streams = 0;
      page.on('request', (request) => {
        if (request.url().includes('parts=')) streams++;
      });
      await signIn('read', '/schedules/extra');
      await page.getByText('Live', { exact: true }).waitFor();
      await api.call('DELETE', '/v1/schedules/extra');
      await page.getByText('It was removed').waitFor();
      // As when the tab is looked at again; a browser comes back from an end within 2 s.
      await page.evaluate('dispatchEvent(new Event("pageshow"))');
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      expect(streams).toBe(1);
      expect(await page.getByRole('status').textContent()).toContain('It was removed');
      expect(complaints).toEqual([]);
    });
  });

  describe('lets who may operate', () => {
    it('pause a schedule with a note and an end, and resume it, and keeps both in the audit log', async () => {
      const { page, signIn, broker, complaints } = await open();
      await signIn('operate', '/schedules/report');
      await page.getByRole('link', { name: 'Pause' }).click();
      const dialog = page.getByRole('dialog', { name: 'Pause report' });
      await dialog.getByLabel('Why').fill(evil);
      await dialog.getByLabel('Until').fill('yesterday');
      await dialog.getByRole('button', { name: 'Pause' }).click();
      const refusal = await dialog.getByRole('alert').textContent();
      expect(refusal).toContain('until: expected a duration such as "2h", or an ISO time with its zone');
      expect(complaints.splice(0)).toEqual([expect.stringContaining('422')]);
      expect((await readStored(broker, 'report'))?.pause).toBeUndefined();
      expect(await dialog.getByLabel('Why').inputValue()).toBe(evil);
      await dialog.getByLabel('Until').fill('2h');
      await page.keyboard.press('Enter');

      await page.getByText('It is paused.').waitFor();
      expect(await page.locator('main').innerText()).toContain(`Paused by operate since`);
      const pause = (await readStored(broker, 'report'))?.pause;
      expect(pause).toMatchObject({ by: 'operate', note: evil });
      expect(Math.abs(Number(pause?.until) - Date.now() - 2 * hour)).toBeLessThan(60_000);

      await page.getByRole('link', { name: 'Resume' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click();
      await page.getByText('It goes on.').waitFor();
      expect((await readStored(broker, 'report'))?.pause).toBeUndefined();
      const { entries } = await readAudit(broker, { limit: 10 });
      const kept = entries.filter(({ via }) => via === 'page');
      expect(kept.map(({ who, action, target, request }) => [who, action, target, request]).reverse()).toEqual([
        ['operate', 'POST /schedules/report/pause', 'schedule report', { note: evil, until: '2h' }],
        ['operate', 'POST /schedules/report/resume', 'schedule report', null],
      ]);
      expect(complaints).toEqual([]);
    });

    it('trigger one, and see its run end', async () => {
      const { page, signIn, work, broker, complaints } = await open();
      await signIn('operate', '/schedules/digest-us');
      await page.getByRole('link', { name: 'Trigger' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Start a run' }).click();
      await page.getByText('A run was started.').waitFor();
      const link = page.getByRole('link', { name: /^trigger:digest-us:/ });
      await page.getByText(/: waiting\. It is no tick/).waitFor();
      await work();
      await page.getByText(/: completed, took .*\. It is no tick/).waitFor();

      const run = await broker.queue('digest').getJob(String(await link.textContent()));
      expect(run?.returnvalue).toBe('sent to us');
      await link.click();
      await page.getByText('sent to us').first().waitFor();
      await page.locator('header button[aria-haspopup=menu]').click();
      await page.getByRole('menuitem', { name: 'Schedules' }).click();
      await page.waitForURL('**/schedules');
      expect(complaints).toEqual([]);
    });

    it('trigger one by one click once, whatever is answered', async () => {
      const { page, signIn, broker, context } = await open();
      await signIn('operate', '/schedules/digest-us');
      let posted = 0;
      const answers: ((route: Route) => Promise<void>)[] = [
        // It goes through, and the answer is lost, or is another than it should be.
        async (route) => {
          await route.fetch({ maxRedirects: 0 });
          await route.abort();
        },
        async (route) => {
          await route.fetch({ maxRedirects: 0 });
          const body = '<main><h1>That did not work</h1><p role="alert">Redis cannot be reached.</p></main>';
          await route.fulfill({ status: 503, contentType: 'text/html', body });
        },
        (route) => route.continue(),
      ];
      await page.route('**/digest-us/trigger', (route) =>
        route.request().method() === 'POST' ? answers[posted++]?.(route) : route.continue(),
      );
      await page.getByRole('link', { name: 'Trigger' }).click();
      const dialog = page.getByRole('dialog');
      const start = dialog.getByRole('button', { name: 'Start a run' });
      await start.click();
      await dialog.getByText('No answer came').waitFor();
      await start.click();
      await dialog.getByText('Redis cannot be reached.').waitFor();
      expect(await dialog.getByRole('alert').count()).toBe(1);
      await screenshot(page, 'dialog-trouble');
      expect(posted).toBe(2);
      await start.click();
      await page.getByText('A run was started.').waitFor();
      expect(await broker.queue('digest').getWaitingCount()).toBe(1);

      // Whose session is over signs in, and comes back.
      await page.getByRole('link', { name: 'Trigger', exact: true }).click();
      await start.waitFor();
      await context.clearCookies();
      await page.unroute('**/digest-us/trigger');
      const at = new URL(page.url());
      await start.click();
      await page.waitForURL('**/login?next=**');
      expect(new URL(page.url()).searchParams.get('next')).toBe(at.pathname + at.search);
      expect(await broker.queue('digest').getWaitingCount()).toBe(1);
    });

    it('trigger one anew with a form that the browser has kept', async () => {
      const { page, signIn } = await open();
      await signIn('operate', '/schedules/digest-us/trigger');
      const nonce = page.locator('input[name="nonce"]');
      const before = await nonce.inputValue();
      await page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))");
      await page.locator(`input[name="nonce"]:not([value="${before}"])`).waitFor({ state: 'attached' });
      await page.getByRole('button', { name: 'Start a run' }).click();
      await page.getByText('A run was started.').waitFor();
    });

    it('backfill one, once it is told how many ticks that would run', async () => {
      const { page, signIn, work, broker, complaints } = await open();
      await work();
      await signIn('operate', '/schedules/report');
      await page.getByRole('link', { name: 'Backfill' }).click();
      const dialog = page.getByRole('dialog', { name: 'Backfill report' });
      const first = Math.floor(Date.now() / hour) * hour - 5 * hour;
      await dialog.getByLabel('From (UTC)').fill(new Date(first).toISOString().slice(0, 16));
      await dialog.getByLabel('To (UTC)').fill(new Date(first + 2 * hour).toISOString().slice(0, 16));
      await dialog.getByRole('button', { name: 'Count the ticks' }).click();
      await dialog.getByText('3 ticks would run').waitFor();
      expect(await broker.queue('report').getJobCountByTypes('wait', 'active', 'completed')).toBe(0);

      await dialog.getByRole('button', { name: 'Run 3 ticks' }).click();
      await page.getByText('The backfill has begun').waitFor();
      await page.getByText(/done: .*, 3 ticks, 3 added, 3 begun/).waitFor();
      await eventually(async () => (await broker.queue('report').getCompletedCount()) === 3);
      expect(complaints).toEqual([]);
    });

    it('all of that without a script', async () => {
      const { broker, api } = await open();
      const context = await browser.newContext({ baseURL: api.url, javaScriptEnabled: false });
      const page = await context.newPage();
      await page.goto('/schedules/report');
      await page.getByLabel('Key').fill(secretOf('operate'));
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByRole('link', { name: 'Pause' }).click();
      await page.getByLabel('Why').fill('the printer moves');
      await page.getByRole('button', { name: 'Pause' }).click();
      await page.getByText('It is paused.').waitFor();
      expect((await readStored(broker, 'report'))?.pause).toMatchObject({ note: 'the printer moves', until: null });
      await context.close();
    });
  });

  it('offers no action to a key that may read, and refuses what it sends all the same', async () => {
    const { page, signIn, broker, complaints } = await open();
    const offered = () => page.getByRole('link', { name: /^(Trigger|Pause|Resume|Backfill)$/ }).count();
    await signIn('operate', '/schedules/report');
    expect(await offered()).toBe(3);
    await signIn('read', '/schedules/report');
    expect(await offered()).toBe(0);
    await page.getByText('This key may look, and not operate.').waitFor();

    for (const action of ['pause', 'resume', 'trigger', 'backfill', 'cancel-backfill']) {
      const status = await page.evaluate(
        async (path) => (await fetch(path, { method: 'POST', body: new URLSearchParams({ note: 'x' }) })).status,
        `/schedules/report/${action}`,
      );
      expect([action, status]).toEqual([action, 403]);
      await page.goto(`/schedules/report/${action}`);
      expect(await page.getByRole('alert').textContent()).toContain('"read" may not operate');
    }
    expect((await readStored(broker, 'report'))?.pause).toBeUndefined();
    expect(await broker.queue('report').getJobCountByTypes('wait', 'active', 'completed')).toBe(0);
    expect(complaints.every((complaint) => complaint.includes('403'))).toBe(true);
  });

  it('can be read by everybody, light and dark', async () => {
    const { page, signIn, stopProducer, broker, complaints } = await open();
    await stopProducer();
    await breakChain(broker, 'report');
    for (const outcome of ['failed', 'missed', 'timed-out', 'skipped', 'succeeded'] as const)
      await note(broker, 'digest-us', 'digest', outcome, 'because');
    await signIn('operate', '/schedules');
    // What else axe looks for is the same in the dark.
    const schemes = { light: undefined, dark: ['color-contrast'] };
    const colours: string[] = [];
    for (const [colorScheme, rules] of Object.entries(schemes)) {
      await page.emulateMedia({ colorScheme: colorScheme as keyof typeof schemes });
      for (const path of ['/schedules', '/schedules/digest-us', '/schedules/digest-us/backfill']) {
        await page.goto(path);
        expect(await axeFindings(page, rules), `${path} ${colorScheme}`).toEqual([]);
      }
      colours.push(await page.evaluate('getComputedStyle(document.body).backgroundColor'));
    }
    expect(colours[0]).not.toBe(colours[1]);
    expect(complaints).toEqual([]);
  });

  it('can be used on a phone, and by keyboard', async () => {
    const { page, signIn, complaints } = await open();
    await signIn('operate', '/schedules');
    await page.setViewportSize({ width: 390, height: 800 });
    for (const path of ['/schedules', '/schedules/digest-us']) {
      await page.goto(path);
      const widths = await page.evaluate('[document.documentElement.scrollWidth, innerWidth]');
      expect(widths, path).toEqual([390, 390]);
    }
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    expect(await page.evaluate('document.activeElement.id')).toBe('main');
    await page.getByRole('link', { name: 'Pause' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').getByLabel('Why').waitFor();
    expect(await page.evaluate('document.activeElement.name')).toBe('note');
    await page.keyboard.press('Escape');
    expect(await page.getByRole('dialog').count()).toBe(0);
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Pause');
    expect(complaints).toEqual([]);
  });
});

async function screenshot(page: Page, name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS;
  if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
}

async function namesIn(page: Page): Promise<string[]> {
  return page.getByRole('table').getByRole('rowheader').getByRole('link').allTextContents();
}

type Broker = Fixture['broker'];

/** As a hand leaves it that removes what is none of its own. */
async function breakChain({ client, keys }: Broker, schedule: string): Promise<void> {
  await client.del(`${keys.queuePrefix(schedule)}:${schedule}:repeat:${schedule}`);
}

let noted = 0;

/** Entries of a ledger, a day apart, before all that it has; each later than those noted before. */
async function note(
  broker: Broker,
  schedule: string,
  job: string,
  outcome: TickOutcome,
  reason: string,
  count = 1,
): Promise<string[]> {
  const { cursor, ticks } = ledgerKeys(broker, { job, schedule });
  const day = 24 * hour;
  const start = Date.UTC(2020, 0, 1) + noted * day;
  noted += count;
  const times = Array.from({ length: count }, (_, index) => start + index * day);
  for (const time of times) {
    const at = { time, due: time, claimed: time + 40, started: time + 50, finished: time + 5_050 };
    const entry = { ...at, outcome, attempts: 1, run: `repeat:${schedule}:${time}`, ...(reason && { reason }) };
    await broker.client.zadd(ticks, String(time), packEntry(schedule, entry));
  }
  await broker.client.hset(cursor, 'from', String(Date.UTC(2020, 0, 1)));
  return times.map((time) => new Date(time).toISOString().replace('.000Z', 'Z'));
}
