import { RondoApiError, RondoConnectionError } from './errors.js';

/** What an API answers a probe. */
export interface Readiness {
  readonly status: 'ready' | 'unready';
  /** Each with why it is not ready, where it is not. */
  readonly parts: Readonly<Record<string, { readonly status: 'ready' | 'unready'; readonly reason?: string }>>;
}

/**
 * Whether an API can do its work. Wants no key, and is not sent again: that it cannot is an answer too.
 *
 * @throws RondoConnectionError where it cannot be reached within `timeoutMs`, RondoApiError where what answers is no API of Rondo's
 */
export async function askReady(url: string, timeoutMs: number): Promise<Readiness> {
  const address = `${url.replace(/\/+$/, '')}/readyz`;
  try {
    const response = await fetch(address, { redirect: 'error', signal: AbortSignal.timeout(timeoutMs) });
    return readinessIn(response.status, await response.text());
  } catch (error) {
    if (error instanceof RondoApiError) throw error;
    const { name, message, cause } = error as Error & { cause?: { message?: string; code?: string } };
    const why = name === 'TimeoutError' ? 'no answer in time' : cause?.message || cause?.code || message;
    throw new RondoConnectionError(`The API at ${url} cannot be reached: ${why}`, { cause: error });
  }
}

function readinessIn(status: number, text: string): Readiness {
  try {
    const found = Object(JSON.parse(text)) as Partial<Readiness>;
    if (found.status && Object(found.parts) === found.parts) return found as Readiness;
  } catch {}
  throw new RondoApiError({
    ...{ status, code: `http-${status}`, title: `What answers there (${status}) is no API of Rondo’s`, detail: '' },
    ...{ problems: [], retryAfterMs: null },
  });
}
