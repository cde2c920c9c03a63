import type { Request, RequestHandler, Response } from 'express';
import type { Broker } from '../broker/queues.js';
import type { Emit } from '../jobs/events.js';
import type { Registry } from '../jobs/registry.js';
import { type AuditEntry, audit } from '../producers/audit.js';
import { differing, factsOf, nameOf, type Subject, shownRequest } from '../producers/subjects.js';
import { plainAddress } from './address.js';
import { principalIn } from './guard.js';
import { withinMs } from './within.js';

export interface AuditInput {
  readonly broker: Broker;
  readonly registry: Registry;
  readonly emit: Emit;
}

/**
 * Keeps every request that changed something, whichever route it came to, before its answer goes out. A single
 * enqueue is left out: each run is a record of its own, and a command more would cost the fastest route a share.
 */
export function auditChanges(input: AuditInput, via: 'api' | 'board' | 'page'): RequestHandler {
  const subjectOf = via === 'board' ? boardSubject : apiSubject;
  return async (request, response, next) => {
    if (isRead(request) || (via === 'api' && isEnqueue(request))) return next();
    const subject = subjectOf(request.path.split('/').slice(1).map(decodeURIComponent));
    const mayBeDry = via === 'api' && /^\/schedules\/[^/]+\/backfill\/?$/i.test(request.path);
    const before = await look(input, subject);
    beforeEnd(response, async () => {
      const { body } = request as { body?: { dryRun?: unknown; job?: unknown } };
      const wasRefused = response.statusCode >= 400 && response.statusCode < 500;
      if (wasRefused || (mayBeDry && body?.dryRun === true)) return;
      const after = await look(input, subject);
      const job = jobOf(subject, after ?? before, body);
      const differences = before === unread || after === unread ? { before, after } : differing(before, after);
      await write(input, request, response, {
        via,
        target: nameOf(subject),
        ...differences,
        request: shownRequest(input.registry, job, body),
      });
    });
    next();
  };
}

/** Keeps that somebody signed in or out, or could not. */
export function auditSignIn({ broker, emit }: Omit<AuditInput, 'registry'>) {
  return (request: Request, action: string, who: string | null): Promise<void> => {
    const entry = {
      who,
      via: 'sign-in',
      target: null,
      status: null,
      before: null,
      after: null,
      request: null,
    } as const;
    return keep(broker, { ...entry, from: plainAddress(request), action }, emit);
  };
}

type Noted = Pick<AuditEntry, 'via' | 'target' | 'before' | 'after' | 'request'>;

function write({ broker, emit }: AuditInput, request: Request, response: Response, noted: Noted): Promise<void> {
  const action = `${request.method} ${request.originalUrl.replace(/\?.*$/, '')}`;
  const who = principalIn(response)?.name ?? 'unknown';
  return keep(broker, { who, from: plainAddress(request), action, status: response.statusCode, ...noted }, emit);
}

/** Who asks for a change does not wait longer than this for the log of it, in ms. */
const keepMs = 1_000;

/** The change is made, and stays: that it could not be noted is told, and nothing more. */
async function keep(broker: Broker, entry: AuditEntry, emit: Emit): Promise<void> {
  await withinMs(keepMs, audit(broker, entry)).catch((error: unknown) => {
    const { who, from, action, target } = entry;
    emit({ type: 'audit.failed', who, from, action, target, error });
  });
}

/** How it stands, or that nobody could say in time: the change itself is not kept waiting for that. */
function look({ broker, registry }: AuditInput, subject: Subject | null) {
  return withinMs(lookMs, factsOf(broker, registry, subject)).catch(() => unread);
}

const lookMs = 400;
const unread: Readonly<Record<string, unknown>> = { unread: true };

function isRead({ method }: Request): boolean {
  return ['GET', 'HEAD', 'OPTIONS'].includes(method);
}

/** Express takes an address in small and capital letters for the same: here and below. */
function isEnqueue({ method, path }: Request): boolean {
  return method === 'POST' && /^\/jobs\/[^/]+\/runs(\/bulk)?\/?$/i.test(path);
}

function apiSubject([kind, name, sort, id]: readonly string[]): Subject | null {
  if (!name) return null;
  if (is(kind, 'schedules')) return { kind: 'schedule', id: name };
  if (!is(kind, 'jobs')) return null;
  return is(sort, 'runs') && id ? { kind: 'run', job: name, id } : { kind: 'job', job: name };
}

const ofQueues = ['retry', 'clean', 'rate-limit'];

/** Bull Board's addresses: `queues/{queue}/{what}`, `queues/{queue}/{run}/{what}`, and those of schedulers. */
function boardSubject([kind, job, name = '', what]: readonly string[]): Subject | null {
  if (!is(kind, 'queues') || !job || !name) return null;
  if (is(name, 'job-schedulers')) return what ? { kind: 'schedule', id: what } : null;
  const isRun = what !== undefined && !ofQueues.some((word) => is(name, word));
  return isRun ? { kind: 'run', job, id: name } : { kind: 'job', job };
}

function is(part: string | undefined, word: string): boolean {
  return part?.toLowerCase() === word;
}

function jobOf(subject: Subject | null, facts: { job?: unknown } | null, body?: { job?: unknown }): string | null {
  if (subject && subject.kind !== 'schedule') return subject.job;
  const job = facts?.job ?? body?.job;
  return typeof job === 'string' ? job : null;
}

/**
 * Does something when an answer is complete and before it goes out, so that whoever has it finds what was done. Who is
 * told that Redis is away is not kept waiting for it.
 */
function beforeEnd(response: Response, work: () => Promise<void>): void {
  const end = response.end.bind(response) as (...args: unknown[]) => Response;
  response.end = ((...args: unknown[]) => {
    response.end = end;
    if (response.statusCode >= 500) {
      end(...args);
      work();
    } else work().finally(() => end(...args));
    return response;
  }) as Response['end'];
}
