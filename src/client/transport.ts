import { errorOf, RondoApiError, RondoConnectionError, RondoTimeoutError } from './errors.js';

export interface TransportSettings {
  /** Where the API is: `https://rondo.example`, or with a path before `/v1`. */
  readonly url: string;
  /** The secret of a key. */
  readonly key: string;
  /** How long a call may take in all, retries included, in ms; 30 s unless told. */
  readonly timeoutMs?: number;
  /** Asked at each try for what is sent along, such as the `traceparent` of the span that the caller is in. */
  readonly headers?: () => Readonly<Record<string, string | null | undefined>>;
  /** In place of the runtime's own. */
  readonly fetch?: typeof fetch;
}

/** How one call is made. */
export interface CallOptions {
  /** How long it may take in all, retries included, in ms. */
  readonly timeoutMs?: number | undefined;
  /** Gives it up: the call rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface Call extends CallOptions {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Under `/v1`, its parts escaped. */
  readonly path: string;
  readonly query?: Record<string, string | number | undefined>;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly idempotencyKey?: string;
  /**
   * Whether it may be sent again when nobody knows what became of it: the answer was lost, or Redis went away in
   * between. What was refused with 429 is sent again in any case.
   */
  readonly repeatable: boolean;
  /** What it means that there is no such thing, where a try before, whose answer was lost, may have removed it. */
  readonly ifGone?: { readonly code: string; readonly answer: unknown };
  /** How long one try may take where another may follow, in ms: a connection that hangs is given up. 15 s unless told. */
  readonly tryMs?: number;
}

export type Transport = (call: Call) => Promise<unknown>;

const defaultTimeoutMs = 30_000;
const defaultTryMs = 15_000;

/**
 * Sends requests, and again where that may help: after 429, 503 and network errors, with pauses that double, varied at
 * random, and no shorter than the API's Retry-After.
 *
 * @throws TypeError where url or key cannot be right; the message does not show them
 */
export function createTransport(settings: TransportSettings): Transport {
  const base = baseOf(settings.url);
  // What no header takes, fetch would quote in its error.
  if (!/^[\x21-\x7e]+$/.test(settings.key ?? '')) throw new TypeError('key: expected the secret of an API key');
  const { fetch: send = fetch, headers: askFor = () => ({}), timeoutMs: usualMs = defaultTimeoutMs } = settings;

  async function tryOnce(call: Call, body: string | undefined, more: Headings, signal: AbortSignal): Promise<unknown> {
    const { method, idempotencyKey } = call;
    const headers = {
      ...more,
      accept: 'application/json',
      authorization: `Bearer ${settings.key}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
    };
    const init = { method, headers, signal, redirect: 'error' as const };
    const response = await send(addressOf(base, call), body === undefined ? init : { ...init, body });
    return response.ok ? answerIn(response, await response.text()) : Promise.reject(await errorOf(response));
  }

  return async ({ timeoutMs = usualMs, ...call }) => {
    // Here, and not at each try: what JSON cannot say is the caller's mistake, and no trouble of the network's.
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    refuseUnsendable(call);
    return repeated(call, timeoutMs, (deadline) => attempt(call, body, deadline));
  };

  async function attempt(call: Call, body: string | undefined, deadline: number): Promise<Attempt> {
    call.signal?.throwIfAborted();
    const more = given(askFor());
    const remaining = Math.max(1, deadline - Date.now());
    const tryMs = call.repeatable ? Math.min(remaining, call.tryMs ?? defaultTryMs) : remaining;
    // Timers take whole ms, and hold no more than this.
    const bound = AbortSignal.timeout(Math.min(Math.ceil(tryMs), 2 ** 31 - 1));
    try {
      return { answer: await tryOnce(call, body, more, call.signal ? AbortSignal.any([call.signal, bound]) : bound) };
    } catch (error) {
      call.signal?.throwIfAborted();
      return { error: failureOf(error, bound, base) };
    }
  }
}

type Headings = Readonly<Record<string, string>>;

function given(headers: Readonly<Record<string, string | null | undefined>>): Headings {
  const known = Object.entries(headers).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
  return Object.fromEntries(known);
}

type Attempt = { readonly answer: unknown } | { readonly error: unknown };

async function repeated(
  call: Call,
  timeoutMs: number,
  attempt: (deadline: number) => Promise<Attempt>,
): Promise<unknown> {
  const deadline = Date.now() + timeoutMs;
  let wasLost = false;
  for (let failures = 1; ; failures++) {
    const done = await attempt(deadline);
    if ('answer' in done) return done.answer;
    const { error } = done;
    if (wasLost && call.ifGone && error instanceof RondoApiError && error.code === call.ifGone.code)
      return call.ifGone.answer;
    wasLost ||= !(error instanceof RondoApiError) || error.status >= 500;
    if (isOver(deadline) && !(error instanceof RondoApiError)) throw timedOut(call, timeoutMs, error);
    const pauseMs = mayRepeat(error, call.repeatable) ? pauseAfter(failures, error, Math.random()) : null;
    // Nothing is gained by waiting for a try that will not be.
    if (pauseMs === null || isOver(deadline - pauseMs)) throw error;
    await wait(pauseMs, call.signal);
  }
}

/** 200 ms, doubled each time up to 5 s, of which a random half is waited; or as long as the API asks for, if that is longer. */
function pauseAfter(failures: number, failure: unknown, random: number): number {
  const full = Math.min(5_000, 200 * 2 ** (failures - 1));
  const asked = failure instanceof RondoApiError ? (failure.retryAfterMs ?? 0) : 0;
  // A little more than was asked for, each by its own measure: all come back, but not at once.
  return asked > 0 ? asked + (random * full) / 2 : full * (0.5 + random / 2);
}

function mayRepeat(failure: unknown, repeatable: boolean): boolean {
  if (failure instanceof RondoConnectionError) return repeatable;
  if (!(failure instanceof RondoApiError)) return false;
  if (failure.status === 429) return true;
  return repeatable && ([502, 503, 504].includes(failure.status) || failure.code === 'idempotency-in-progress');
}

/** Waits, or rejects with the reason of a signal that aborts meanwhile. */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/** @throws TypeError where an id would make another address, or no header takes the key */
function refuseUnsendable({ path, idempotencyKey }: Call): void {
  const strange = path
    .split('/')
    .slice(1)
    .find((part) => ['', '.', '..'].includes(part));
  if (strange !== undefined)
    throw new TypeError(`expected the name of a job, or an id of a run or schedule; got "${strange}"`);
  if (idempotencyKey !== undefined && !/^[\x21-\x7e]{1,255}$/.test(idempotencyKey))
    throw new TypeError('idempotencyKey: expected 1 to 255 letters, digits or signs of ASCII, without spaces');
}

const isOver = (deadline: number) => Date.now() >= deadline;

function baseOf(url: string): string {
  const wrong = 'url: expected the address of the API, such as https://rondo.example, without a user or a password';
  if (!URL.canParse(url)) throw new TypeError(wrong);
  const { protocol, username, password, origin, pathname } = new URL(url);
  if (!/^https?:$/.test(protocol) || username || password) throw new TypeError(wrong);
  return origin + pathname.replace(/\/+$/, '');
}

function addressOf(base: string, { path, query = {} }: Call): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)])).toString();
  return `${base}/v1${path}${search && `?${search}`}`;
}

/** A page of something in between, where JSON was to be, is no answer of Rondo's. */
function answerIn({ status }: Response, text: string): unknown {
  if (text === '') return null;
  try {
    return JSON.parse(text);
  } catch {
    throw new RondoApiError({
      ...{ status, code: 'answer-unreadable', title: 'The answer is no JSON', detail: '', problems: [] },
      retryAfterMs: null,
    });
  }
}

function failureOf(error: unknown, bound: AbortSignal, base: string): unknown {
  if (error instanceof RondoApiError) return error;
  const why = bound.aborted ? 'no answer in time' : reasonOf(error);
  return new RondoConnectionError(`The API at ${base} cannot be reached: ${why}`, { cause: error });
}

function timedOut({ method, path }: Call, timeoutMs: number, cause: unknown): RondoTimeoutError {
  return new RondoTimeoutError(`${method} ${path} took longer than ${timeoutMs} ms`, { cause });
}

/** Of fetch's errors the cause says more: "fetch failed" is all they say themselves. */
function reasonOf(error: unknown): string {
  const { message, cause } = Object(error) as { message?: string; cause?: { message?: string; code?: string } };
  return cause?.message || cause?.code || message || String(error);
}
