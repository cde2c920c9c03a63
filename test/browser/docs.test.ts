import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { hasChromium, launchBrowser, visit } from '../support/browser.js';
import { fixture } from '../support/harness.js';

const sendEmail = defineJob({
  name: 'send-email',
  description: 'Sends an email',
  payload: z.object({ to: z.email().describe('Who gets it'), copies: z.int().min(1).default(1) }),
  run: () => null,
});

describe.skipIf(!hasChromium())("the API's description in a browser", { timeout: 120_000 }, () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser?.close());

  it('shows each operation and job after a sign-in, asks nobody else for anything, and calls the API', async () => {
    const { serve, broker } = await fixture([sendEmail]);
    const { page, complaints, signIn } = await visit(browser, (await serve()).url);

    await page.goto('/docs');
    expect(new URL(page.url()).pathname).toBe('/login');
    await signIn('admin', '/docs');

    const summary = page.getByRole('button', { name: /POST \/v1\/jobs\/send-email\/runs(?!\/)/ });
    await summary.click();
    expect(await page.title()).toBe('Rondo: the API');
    expect(await page.locator('.opblock').count()).toBeGreaterThan(20);
    const operation = page.locator('.opblock.is-open');
    await operation.getByText('Sends an email').waitFor();
    await operation.getByRole('button', { name: 'Try it out' }).click();
    await operation.locator('textarea').fill('{"payload":{"to":"ada@example.com"}}');
    await operation.getByRole('button', { name: 'Execute' }).click();
    await operation.locator('.live-responses-table .response-col_status', { hasText: '202' }).waitFor();
    const [run] = await broker.queue('send-email').getJobs();
    expect(run?.data).toEqual({ to: 'ada@example.com' });
    expect(complaints).toEqual([]);
  });
});
