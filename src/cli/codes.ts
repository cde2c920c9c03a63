import { RondoApiError, RondoConnectionError, RondoTimeoutError } from '../client/index.js';
import { RondoError } from '../errors.js';

/** The code of an error that is meant to be read, ours or the API's; null where it is a fault. */
export function codeOf(error: unknown): string | null {
  const known = [RondoError, RondoApiError, RondoConnectionError, RondoTimeoutError].some(
    (kind) => error instanceof kind,
  );
  return known ? (error as { code: string }).code : null;
}
