import { existsSync } from 'node:fs';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { onTestFinished } from 'vitest';
import { secretOf } from './http.js';

export const chromiumPath = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium';

export function hasChromium(): boolean {
  return existsSync(chromiumPath);
}

export async function launchBrowser(): Promise<Browser> {
  const { chromium } = await import('playwright-core');
  const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-quic', '--no-first-run'];
  return chromium.launch({ executablePath: chromiumPath, args });
}

/** A person at a browser of their own. */
export interface Visitor {
  readonly page: Page;
  readonly context: BrowserContext;
  /** What the browser complained about: errors of scripts, refused resources, and addresses elsewhere. */
  readonly complaints: string[];
  /** Signs in with the key of a name, and ends where that leads. */
  signIn(key: string, next?: string): Promise<void>;
  /** A call from the page, with its cookie. */
  fetch(method: string, path: string, json?: unknown): Promise<{ status: number; body: Record<string, unknown> }>;
}

export async function visit(browser: Browser, url: string): Promise<Visitor> {
  const context = await browser.newContext({ baseURL: url });
  onTestFinished(() => context.close());
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('data:')) complaints.push(request.url());
  });
  return {
    page,
    context,
    complaints,
    async signIn(key, next = '/board') {
      await page.goto(`/login?next=${encodeURIComponent(next)}`);
      await page.getByLabel('Key').fill(secretOf(key));
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.waitForURL((address) => address.pathname !== '/login');
    },
    fetch: (method, path, json) =>
      page.evaluate(
        async ({ method, path, body }) => {
          const headers = { 'content-type': 'application/json' };
          const response = await fetch(path, { method, headers, ...(body !== undefined && { body }) });
          const text = await response.text();
          return { status: response.status, body: text ? JSON.parse(text) : {} };
        },
        { method, path, body: json === undefined ? undefined : JSON.stringify(json) },
      ),
  };
}

/**
 * What axe finds on a page that keeps people out: its serious and critical findings.
 *
 * @param rules all that axe has, unless told
 */
export async function axeFindings(page: Page, rules?: readonly string[]): Promise<string[]> {
  const { default: axe } = await import('axe-core');
  // By the browser's own door: the page's policy would refuse a script in line.
  await page.evaluate(axe.source);
  const { violations } = (await page.evaluate(`axe.run(${JSON.stringify(rules ? { runOnly: rules } : {})})`)) as {
    violations: Finding[];
  };
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}

interface Finding {
  readonly id: string;
  readonly impact: string;
  readonly nodes: readonly { readonly html: string }[];
}
