import type { Problem } from '../errors.js';

/** What the API refused: problem details (RFC 9457) as an error. Its message never holds the key. */
export class RondoApiError extends Error {
  override readonly name = 'RondoApiError';
  /** The HTTP status. */
  readonly status: number;
  /** To search for in the docs: `payload-invalid`, `job-unknown`; `http-<status>` where the answer was not Rondo's. */
  readonly code: string;
  readonly title: string;
  /** Completes the title: which job, which run, what to do. */
  readonly detail: string;
  /** Each thing that was wrong: where, what was expected there, and what came. */
  readonly problems: readonly Problem[];
  /** After how long the API would like to be asked again, in ms; null where it does not say. */
  readonly retryAfterMs: number | null;

  constructor(facts: ApiErrorFacts) {
    const { status, code, title, detail, problems, retryAfterMs } = facts;
    const lines = problems.map(({ where, expected, got }) => `  ${where}: expected ${expected}; got ${got}`);
    super([[title, detail].filter(Boolean).join(': '), ...lines].join('\n'));
    this.status = status;
    this.code = code;
    this.title = title;
    this.detail = detail;
    this.problems = problems;
    this.retryAfterMs = retryAfterMs;
  }
}

type ApiErrorFacts = Omit<RondoApiError, 'name' | 'message' | 'stack' | 'cause'>;

/** The API could not be reached, or went away before it answered: why is the `cause`. */
export class RondoConnectionError extends Error {
  override readonly name = 'RondoConnectionError';
  readonly code = 'api-unreachable';
}

/** The time that a call may take is over: the last thing that went wrong is the `cause`, where something did. */
export class RondoTimeoutError extends Error {
  override readonly name = 'RondoTimeoutError';
  readonly code = 'timed-out';
}

/** An answer that is an error, read as far as it can be: a proxy in between has words of its own. */
export async function errorOf(response: Response): Promise<RondoApiError> {
  const { status, statusText, headers } = response;
  const text = await response.text().catch(() => '');
  const { code, title, detail, problems } = problemIn(text);
  return new RondoApiError({
    status,
    code: typeof code === 'string' ? code : `http-${status}`,
    title: typeof title === 'string' ? title : `The API answered ${status} ${statusText}`.trim(),
    detail: typeof detail === 'string' ? detail : '',
    problems: Array.isArray(problems) ? problems : [],
    retryAfterMs: retryAfterMs(headers.get('retry-after'), Date.now()),
  });
}

/** Seconds, or a date (RFC 9110). */
export function retryAfterMs(value: string | null, now: number): number | null {
  if (value === null || value.trim() === '') return null;
  if (/^\d{1,9}$/.test(value.trim())) return 1_000 * Number(value);
  const time = Date.parse(value);
  return Number.isNaN(time) ? null : Math.max(0, time - now);
}

function problemIn(text: string): { code?: unknown; title?: unknown; detail?: unknown; problems?: unknown } {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
