import { createHash } from 'node:crypto';
import type { Request, Response } from 'express';
import { RondoError } from '../../errors.js';
import { beginEvents } from '../waits.js';
import { type Html, html } from './html.js';

/** Where the parts of a page come from, again and again. Those with the same key are read together. */
export interface LiveSource {
  readonly key: string;
  /** @throws RondoError `schedule-unknown` where what the page is about is gone: then nothing more is to come */
  read(parts: ReadonlySet<string>): Promise<ReadonlyMap<string, Html>>;
}

export type Live = ReturnType<typeof createLive>;

export interface LiveOptions {
  /** How often what pages show is read, in ms. */
  readonly everyMs?: number;
  /** How many pages one process keeps up to date. */
  readonly mostPages?: number;
  /** After so long a page has to come back, with a key that is still good; in ms. */
  readonly longestMs?: number;
}

/** A reader that takes nothing is let go with so many bytes unread. */
const mostUnread = 2 ** 20;

/**
 * Keeps pages up to date by server-sent events: `part` carries what has changed of a page, `trouble` says why nothing
 * comes, `gone` that nothing will. One reader serves all pages of a process, and rests while nobody looks.
 */
export function createLive({ everyMs = 2_000, mostPages = 200, longestMs = 10 * 60_000 }: LiveOptions = {}) {
  const viewers = new Set<Viewer>();
  let timer: NodeJS.Timeout | null = null;

  const round = async () => {
    for (const viewer of viewers) if (isOver(viewer)) viewers.delete(viewer);
    await Promise.all([...grouped(viewers)].map(([, group]) => serve(group)));
    timer = viewers.size > 0 ? setTimeout(round, everyMs).unref() : null;
  };

  return {
    /** @throws RondoError `request-invalid`, or `waiters-full` where as many look as one process serves */
    follow(request: Request, response: Response, source: LiveSource): void {
      // Who has left by now closes no more, and would be looked after for good.
      if (response.destroyed) return;
      const marks = readMarks(request.query.parts);
      if (viewers.size >= mostPages) throw new RondoError('waiters-full', `${mostPages} pages are kept up to date`);
      beginEvents(response);
      response.write('retry: 2000\n\n');
      const viewer = { source, marks, response, until: performance.now() + longestMs };
      viewers.add(viewer);
      response.on('close', () => viewers.delete(viewer));
      timer ??= setTimeout(round, 0);
    },
    stop(): void {
      if (timer) clearTimeout(timer);
      for (const { response } of viewers) response.end();
      viewers.clear();
    },
    /** How many pages are kept up to date. */
    size: () => viewers.size,
  };
}

/** Whether a request is for the changes of a page, rather than for the page. */
export function wantsEvents(request: Request): boolean {
  return request.headers.accept === 'text/event-stream';
}

/** The names of the parts that a request for changes is about. */
export function partsAsked(request: Request): string[] {
  return [...readMarks(request.query.parts).keys()];
}

/** The attributes of an element whose content is kept up to date. */
export function liveAttributes(part: string, content: Html): Html {
  return html`data-live="${part}" data-mark="${markOf(content)}"`;
}

interface Viewer {
  readonly source: LiveSource;
  /** What the page shows of each part. */
  readonly marks: Map<string, string>;
  readonly response: Response;
  readonly until: number;
}

function grouped(viewers: Iterable<Viewer>): Map<string, Viewer[]> {
  const groups = new Map<string, Viewer[]>();
  for (const viewer of viewers) {
    const { key } = viewer.source;
    groups.set(key, [...(groups.get(key) ?? []), viewer]);
  }
  return groups;
}

async function serve(group: readonly Viewer[]): Promise<void> {
  const [first] = group;
  if (!first) return;
  const wanted = new Set(group.flatMap(({ marks }) => [...marks.keys()]));
  try {
    const found = await first.source.read(wanted);
    for (const viewer of group) send(viewer, found);
  } catch (error) {
    for (const viewer of group) tellTrouble(viewer, error);
  }
  for (const { until, response } of group) if (performance.now() > until) response.end();
}

function tellTrouble(viewer: Viewer, error: unknown): void {
  if (error instanceof RondoError && error.code === 'schedule-unknown') {
    // Not the error's own words: the nearest id that they tell may be another's.
    write(viewer, 'gone', { message: 'It was removed, or cannot be read any more' });
    viewer.response.end();
  } else {
    write(viewer, 'trouble', { message: error instanceof RondoError ? error.message : 'Redis does not answer' });
  }
}

function send(viewer: Viewer, found: ReadonlyMap<string, Html>): void {
  // Also a sign of life, without which what lies between would take the connection for dead.
  write(viewer, 'alive', {});
  for (const [part, shown] of viewer.marks) {
    const content = found.get(part);
    const mark = content && markOf(content);
    if (!mark || mark === shown) continue;
    viewer.marks.set(part, mark);
    write(viewer, 'part', { part, mark, html: content.text });
  }
}

function isOver({ response }: Viewer): boolean {
  return response.destroyed || response.writableEnded;
}

function write(viewer: Viewer, event: string, data: object): void {
  const { response } = viewer;
  if (isOver(viewer)) return;
  if (response.writableLength > mostUnread) response.destroy();
  else response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

function markOf({ text }: Html): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 8);
}

const partsExpected = 'what the page shows: part~mark, comma-separated, 200 at most';

function readMarks(given: unknown): Map<string, string> {
  const pairs = typeof given === 'string' ? given.split(',').map((pair) => pair.split('~')) : [];
  const marks = new Map<string, string>();
  for (const [part, mark] of pairs) if (part && mark !== undefined) marks.set(part, mark);
  if (marks.size > 0 && marks.size === pairs.length && marks.size <= 200) return marks;
  const got = typeof given === 'string' ? `${given.length} letters` : 'nothing';
  throw new RondoError('request-invalid', '', { problems: [{ where: 'parts', expected: partsExpected, got }] });
}
