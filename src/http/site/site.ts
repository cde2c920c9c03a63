import { type ErrorRequestHandler, type RequestHandler, Router } from 'express';
import { requires } from '../guard.js';
import { inOurWords } from '../problem.js';
import { sendPage } from './frame.js';
import { html } from './html.js';
import type { SiteInput } from './input.js';
import { sections } from './sections.js';

const elsewhere = [
  { path: '/board', label: 'Board' },
  { path: '/docs/', label: 'Docs' },
];

/** The pages that Rondo draws itself, for who is signed in and may read. */
export function siteRoutes(input: SiteInput): Router {
  const routes = Router();
  const navigation = [...sections.map(({ path, label }) => ({ path, label })), ...elsewhere];
  for (const { path, routes: create } of sections) {
    routes.use(path, pageHeaders, requires('read'), (_request, response, next) => {
      response.locals.navigation = navigation;
      next();
    });
    routes.use(create(input), errorPage(path));
  }
  return routes;
}

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join(';');

/** Stricter than the board's: nothing of these pages is in line. */
const pageHeaders: RequestHandler = (_request, response, next) => {
  response.set({ 'Content-Security-Policy': policy, 'Cache-Control': 'no-store' });
  next();
};

/** Who looks at pages is told of an error by one; who does not, and of our own defects, as everywhere. */
function errorPage(section: string): ErrorRequestHandler {
  return (error, request, response, next) => {
    const known = inOurWords(error);
    const asksForPage = request.headers.accept?.includes('text/html') ?? false;
    if (response.headersSent || known.code === 'internal' || !asksForPage) return next(error);
    const { status, code, problems } = known;
    const title = `${known.message.split('\n')[0]}`;
    const list = problems.map(
      ({ where, expected, got }) => html`<li><b>${where}</b>: expected ${expected}; got ${got}</li>`,
    );
    const body = html`<h1>That did not work</h1><div class="card"><p role="alert">${title}.</p>${list.length > 0 && html`<ul>${list}</ul>`}
<p class="soft">${status} ${code}</p></div><p><a href="${section}">To the beginning of these pages</a></p>`;
    sendPage(response, { title: 'That did not work', section, body, status });
  };
}
