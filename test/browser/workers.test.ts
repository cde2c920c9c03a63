import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { ProcessReport } from '../../src/broker/processes.js';
import type { Broker } from '../../src/broker/queues.js';
import { createSelf } from '../../src/broker/self.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { readAudit } from '../../src/producers/audit.js';
import { enqueue } from '../../src/producers/enqueue.js';
import { axeFindings, hasChromium, launchBrowser, visit } from '../support/browser.js';
import { aborted } from '../support/gate.js';
import { eventually, fixture } from '../support/harness.js';

const evil = '<script>document.title = "owned"</script>';
/** Well within the hours that a page of the day shows, whenever this runs. */
const hour = String((new Date().getUTCHours() + 3) % 24).padStart(2, '0');

describe.skipIf(!hasChromium())('the pages of workers and of the day in a browser', { timeout: 120_000 }, () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser?.close());

  /** A worker that executes two runs, one of them for too long, schedules, and an api. */
  async function open() {
    const nightly = Array.from({ length: 40 }, (_, index) => ({ id: `export-${index}`, cron: `0 ${hour} * * *` }));
    const jobs = [
      defineJob({ name: 'import', timeout: '1h', concurrency: 3, run: ({ signal }) => aborted(signal) }),
      defineJob({ name: 'export', concurrency: 5, schedules: nightly, run: () => null }),
      defineJob({ name: 'pulse', schedules: [{ id: 'pulse', every: '1s' }], run: () => 'alive' }),
    ] as const;
    const parts = await fixture(jobs);
    const producer = await parts.produce();
    await parts.events.next('schedules.reconciled');
    await producer.stop(Date.now() + 1_000);
    const { broker, events } = parts;
    const queue = broker.queue('export');
    // Its runs took 10 minutes.
    await broker.client.hset(queue.toKey('a'), { processedOn: 1, finishedOn: 600_001 });
    await broker.client.zadd(queue.toKey('completed'), 1, 'a');

    const pool = await parts.work({ jobs: [jobs[0]] });
    const facts = { app: 'shop', release: '1.4.0', now: Date.now, everyMs: 100 };
    const vitalSigns = () => ({ loopDelayMs: 2, memory: { rss: 98e6, heapUsed: 41e6, heapTotal: 60e6 } });
    const self = createSelf({ ...facts, roles: ['worker'], vitalSigns });
    self.worksOn(jobs, pool.running);
    const runs = [await enqueue(broker, jobs[0], {}), await enqueue(broker, jobs[0], {})] as const;
    for (const id of runs) await events.next('run.started', ({ run }) => run === id);
    const sign = self.shownOn(broker);
    await sign.start();
    onTestFinished(() => sign.stop(Date.now()));
    await tellStuck(broker, self.id);

    const api = await parts.serve();
    return { ...parts, ...(await visit(browser, api.url)), api, runs };
  }

  it('show who is alive, cancel what runs, and say where the workers will not do', async () => {
    const { page, signIn, broker, events, runs, complaints } = await open();
    await signIn('operate', '/workers');
    const main = page.locator('main');
    expect(await main.innerText()).toMatch(
      /Workers\s+2\s+Other processes\s+0\s+Runs that execute\s+3 of 18 slots\s+Stuck\s+1/,
    );
    const stuck = page.getByRole('group', { name: 'Stuck runs' });
    expect(await stuck.innerText()).toMatch(/export <script>.*longer than its timeout of 30s.*ops7 4711/s);
    expect(await page.title()).toBe('Workers · Rondo');
    await page.getByText('Live', { exact: true }).waitFor();
    const row = page.getByRole('row', { name: `import ${runs[0]}` });
    await row.getByText(/^\d+s$/).waitFor();
    const begun = Number.parseInt(await row.locator('[data-since]').innerText(), 10);
    const seconds = async () => Number.parseInt(await row.locator('[data-since]').innerText(), 10);
    await eventually(async () => (await seconds()) > begun);
    await screenshot('workers-light');

    await page.getByRole('link', { name: `Cancel import ${runs[0]}` }).click();
    await page.getByRole('dialog').getByRole('link', { name: 'Leave it' }).click();
    expect(await page.getByRole('dialog').count()).toBe(0);
    expect(events.of('run.cancelled')).toEqual([]);
    await page.getByRole('link', { name: `Cancel import ${runs[0]}` }).click();
    await page.getByRole('button', { name: 'Cancel the run' }).click();
    await page.getByText('The run is told to end').waitFor();
    expect(await events.next('run.cancelled')).toMatchObject({ run: runs[0], by: 'operate' });
    await row.waitFor({ state: 'detached' });
    await page.getByRole('row', { name: `import ${runs[1]}` }).waitFor();
    const { entries } = await readAudit(broker, { limit: 10 });
    expect(entries.find(({ via }) => via === 'page')).toMatchObject({
      who: 'operate',
      target: `run import ${runs[0]}`,
    });
    // Again, of one that has ended.
    await page.goto(`/workers/jobs/import/runs/${runs[0]}/cancel`);
    await page.getByRole('button', { name: 'Cancel the run' }).click();
    await page.getByText('The run had ended already').waitFor();

    await page.getByRole('link', { name: 'Day' }).click();
    await page.getByRole('heading', { name: 'Where the workers will not do' }).waitFor();
    const text = await main.innerText();
    expect(text).toMatch(
      new RegExp(`export from ${time('00')} until ${time('40')}: 40 runs want to execute at once, and it has 10 slots`),
    );
    expect(text).toMatch(/The last begin 30m late/);
    expect(text).toMatch(/Spread export-0 \(1\), .* and 35 more over 40m/);
    expect(text).not.toContain('No worker takes');
    expect(await page.getByRole('row', { name: /^export/ }).innerText()).toMatch(
      new RegExp(`40\\s+40\\s+40 at ${time('00')}\\s+10$`),
    );
    await screenshot('day-light');
    await page
      .getByRole('row', { name: /^pulse/ })
      .getByRole('link', { name: 'pulse' })
      .click();
    await page.getByRole('heading', { name: 'The day of pulse' }).waitFor();
    expect(await main.innerText()).toContain('1 not measured yet');

    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      for (const path of ['/workers', '/day']) {
        await page.goto(path);
        expect(await axeFindings(page), `${path} ${colorScheme}`).toEqual([]);
        if (colorScheme === 'dark') await screenshot(`${path.slice(1)}-dark`);
      }
    }
    await page.setViewportSize({ width: 390, height: 800 });
    for (const path of ['/workers', '/day']) {
      await page.goto(path);
      expect(await page.evaluate('[document.documentElement.scrollWidth, innerWidth]'), path).toEqual([390, 390]);
      await screenshot(`${path.slice(1)}-phone`);
    }
    expect(complaints).toEqual([]);

    async function screenshot(name: string) {
      const folder = process.env.SCREENSHOTS;
      if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
    }
  });

  it('keep what is unfolded, scrolled and in focus when they are brought up to date', async () => {
    const { page, signIn, api, runs, complaints } = await open();
    await page.setViewportSize({ width: 390, height: 800 });
    await signIn('operate', '/workers');
    await page.getByText('Live', { exact: true }).waitFor();
    await page.locator('summary').first().click();
    const stuck = 'document.querySelector("[aria-label=\'Stuck runs\']")';
    await page.evaluate(`${stuck}.scrollTo(40, 0)`);
    const link = page.getByRole('link', { name: `Cancel import ${runs[1]}` });
    await link.focus();
    await api.call('POST', `/v1/jobs/import/runs/${runs[0]}/cancel`);
    await page.getByRole('row', { name: `import ${runs[0]}` }).waitFor({ state: 'detached' });
    const inFocus = () => page.evaluate('document.activeElement.getAttribute("aria-label")');
    expect(await inFocus()).toBe(`Cancel import ${runs[1]}`);
    expect(await page.locator('details[open]').count()).toBe(1);
    expect(await page.evaluate(`${stuck}.scrollLeft`)).toBe(40);

    await page.keyboard.press('Enter');
    await page.getByRole('dialog').getByRole('button').waitFor();
    const { body } = await api.call('POST', '/v1/jobs/import/runs');
    // Behind the dialog links have no role.
    await page.locator(`a[aria-label="Cancel import ${body.id}"]`).waitFor();
    await page.keyboard.press('Escape');
    await eventually(async () => (await inFocus()) === `Cancel import ${runs[1]}`);

    await page.locator('summary').last().focus();
    await api.call('POST', `/v1/jobs/import/runs/${body.id}/cancel`);
    await page.getByRole('row', { name: `import ${body.id}` }).waitFor({ state: 'detached' });
    expect(await page.evaluate('document.activeElement === [...document.querySelectorAll("summary")].at(-1)')).toBe(
      true,
    );
    expect(complaints).toEqual([]);
  });

  it('have no button for a key that may only read, which is refused when it posts anyway', async () => {
    const { page, signIn, fetch, events, runs } = await open();
    await signIn('read', '/workers');
    await page.getByRole('row', { name: `import ${runs[0]}` }).waitFor();
    expect(await page.getByRole('link', { name: /^Cancel/ }).count()).toBe(0);
    for (const address of [`/workers/jobs/import/runs/${runs[0]}/cancel`, `/v1/jobs/import/runs/${runs[0]}/cancel`]) {
      expect(await fetch('POST', address, {})).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    }
    expect(events.of('run.cancelled')).toEqual([]);
  });
});

/** As the page writes it, with the date where that is another. */
function time(minutes: string): string {
  return `(\\S+ )?${hour}:${minutes}`;
}

/** Another worker, whose run goes on beyond its timeout, with names that a hand has written. */
async function tellStuck({ client, keys }: Broker, like: string): Promise<void> {
  const report = JSON.parse((await client.get(keys.process(like))) ?? '') as ProcessReport;
  const id = 'ffffffffffff';
  // Told a little ahead of time, so that it stays for as long as the test.
  const at = report.at + 60_000;
  const runs = [{ job: 'export', run: evil, attempt: 2, since: at - 200_000, schedule: 'export-1', tick: 0 }];
  const other = { ...report, ...{ id, host: 'ops7', pid: 4711, at, running: 1, runs, loopDelayMs: 340 } };
  const jobs = [{ name: 'export', concurrency: 5, timeoutMs: 30_000 }];
  await client.set(keys.process(id), JSON.stringify({ ...other, jobs }));
  await client.zadd(keys.processes, Date.now() + 60_000, id);
}
