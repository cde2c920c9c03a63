import type { Broker } from '../broker/queues.js';
import { shownUrl } from '../jobs/healthcheck.js';
import type { Registry } from '../jobs/registry.js';
import { hidden, redactPayload } from '../jobs/secrets.js';
import { isKnownJob } from './gone-jobs.js';
import { isLeaving } from './settle.js';
import { shownPayload } from './shown.js';
import { readStored } from './store.js';

/** What a change is about. */
export type Subject =
  | { readonly kind: 'schedule'; readonly id: string }
  | { readonly kind: 'run'; readonly job: string; readonly id: string }
  | { readonly kind: 'job'; readonly job: string };

type Facts = Readonly<Record<string, unknown>>;

/** How it stands, without secrets; null where it is not there. */
export async function factsOf(broker: Broker, registry: Registry, subject: Subject | null): Promise<Facts | null> {
  switch (subject?.kind) {
    case 'schedule':
      return scheduleFacts(broker, subject.id);
    case 'run':
      if (!(await isKnownJob(broker, registry, subject.job))) return null;
      return runFacts(broker, registry, subject.job, subject.id);
    case 'job':
      return registry.find(subject.job) ? jobFacts(broker, subject.job) : null;
    default:
      return null;
  }
}

export function nameOf(subject: Subject | null): string | null {
  if (subject === null) return null;
  const { kind } = subject;
  return kind === 'run' ? `run ${subject.job} ${subject.id}` : `${kind} ${kind === 'job' ? subject.job : subject.id}`;
}

/** Of what stood before and stands after, what differs; all of it where one of them is missing. */
export function differing(before: Facts | null, after: Facts | null): { before: Facts | null; after: Facts | null } {
  if (!before || !after) return { before, after };
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const changed = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
  const only = (facts: Facts) => Object.fromEntries(changed.map((name) => [name, facts[name] ?? null]));
  return { before: only(before), after: only(after) };
}

const payloadNames = ['payload', 'data', 'jobData'];

/** A request's body without the secrets of a payload in it. Whose job nobody knows, that payload is not shown. */
export function shownRequest(registry: Registry, job: string | null, body: unknown): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return null;
  const entries = Object.entries(body);
  if (entries.length === 0) return null;
  const known = job === null ? undefined : registry.find(job);
  const payload = (value: unknown) => (known ? redactPayload(known.secret, value) : hidden);
  const wholly = (value: unknown) => (known?.secret.length === 0 ? value : hidden);
  const run = (value: unknown) => shownRequest(registry, job, value) ?? wholly(value);
  const shown = (name: string, value: unknown) => {
    if (payloadNames.includes(name)) return payload(value);
    if (name === 'runs') return Array.isArray(value) ? value.map(run) : wholly(value);
    return name === 'healthcheck' && typeof value === 'string' ? shownUrl(value) : value;
  };
  return Object.fromEntries(entries.map(([name, value]) => [name, shown(name, value)]));
}

async function scheduleFacts(broker: Broker, id: string): Promise<Facts | null> {
  const stored = await readStored(broker, id);
  if (!stored || isLeaving(stored)) return null;
  const { specification, owner, pause = null } = stored;
  const { job, description, timing, policy, payload, options, alerts = null, enabled = true } = specification;
  const { overlap = 'allow', lateAfter = null } = options;
  const healthcheck = options.healthcheck === undefined ? null : shownUrl(options.healthcheck);
  const shown = shownPayload(broker.jobOf(job), { data: payload, opts: options });
  const policies = { policy, overlap, lateAfter, alerts, healthcheck };
  return { job, description, timing, ...policies, payload: shown, enabled, owner, pause };
}

async function runFacts(broker: Broker, registry: Registry, job: string, id: string): Promise<Facts | null> {
  const queue = broker.queue(job);
  const state = await queue.getJobState(id);
  const run = state === 'unknown' ? undefined : await queue.getJob(id);
  if (!run) return null;
  const { attemptsMade, priority, delay } = run;
  return { state, attemptsMade, priority, delay, payload: shownPayload(registry.find(job), run) };
}

async function jobFacts(broker: Broker, job: string): Promise<Facts> {
  const queue = broker.queue(job);
  const [counts, paused] = await Promise.all([queue.getJobCounts(), queue.isPaused()]);
  return { paused, ...counts };
}
