import type { Response } from 'express';
import { principalIn } from '../guard.js';
import { icon } from '../pages.js';
import { assetUrl } from './assets.js';
import { type Html, html } from './html.js';

/** What the navigation of every page leads to. */
export interface NavigationLink {
  readonly path: string;
  readonly label: string;
}

export interface Page {
  /** Of the window, and of the page's first heading unless the page has one of its own. */
  readonly title: string;
  /** Which link of the navigation it belongs to. */
  readonly section: string;
  readonly body: Html;
  /** Where its live parts come from; see live.ts. */
  readonly live?: string;
  readonly status?: number;
}

/** Answers with a page of Rondo's own, in the frame that all of them share. */
export function sendPage(response: Response, page: Page): void {
  const links = (response.locals.navigation ?? []) as readonly NavigationLink[];
  const text = frame(page, links, principalIn(response)?.name ?? null).text;
  response
    .status(page.status ?? 200)
    .type('html')
    .send(`<!doctype html>\n${text}`);
}

function frame({ title, section, body, live }: Page, links: readonly NavigationLink[], key: string | null): Html {
  const current = (path: string) => path === section && html` aria-current="page"`;
  return html`<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · Rondo</title>
<link rel="icon" href="${icon}">
<link rel="stylesheet" href="${assetUrl('site.css')}">
<script type="module" src="${assetUrl('site.js')}"></script>
</head>
<body${live && html` data-live-from="${live}"`}>
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
<a class="brand" href="/schedules"><img src="${icon}" alt="" width="24" height="24">Rondo</a>
<nav aria-label="Main">${links.map(({ path, label }) => html`<a href="${path}"${current(path)}>${label}</a>`)}</nav>
<p class="who"><span>Key <b>${key ?? 'none'}</b></span> <a href="/logout">Sign out</a></p>
</header>
<main id="main" tabindex="-1">
${body}
</main>
</body>
</html>
`;
}
