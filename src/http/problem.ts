import type { ErrorRequestHandler, Response } from 'express';
import { errorTable, RondoError } from '../errors.js';

/** Answers an error as problem details (RFC 9457), with its code and what exactly is wrong. */
export function sendProblem(response: Response, error: RondoError): void {
  const { code, status, problems, detail, retryable } = error;
  if (retryable && status === 503) response.set('Retry-After', '2');
  if (status === 401) response.set('WWW-Authenticate', 'Bearer realm="rondo"');
  response
    .status(status)
    .type('application/problem+json')
    .send(
      JSON.stringify({
        type: `urn:rondo:problem:${code}`,
        title: errorTable[code].message,
        status,
        code,
        ...(detail && { detail }),
        ...(problems.length > 0 && { problems }),
      }),
    );
}

/** The end of every route: our own errors as they are, Express's and body-parser's in our words, the rest as `internal`. */
export function problemHandler(report: (error: unknown) => void): ErrorRequestHandler {
  return (error, _request, response, next) => {
    if (response.headersSent) return next(error);
    const known = error instanceof RondoError ? error : translated(error);
    if (known.code === 'internal') report(error);
    sendProblem(response, known);
  };
}

function translated(error: unknown): RondoError {
  const { type, status, message } = error as { type?: string; status?: number; message?: string };
  switch (type) {
    case 'entity.parse.failed':
      return new RondoError('body-unreadable', message);
    case 'entity.too.large':
      return new RondoError('body-too-large', 'at most 1 MiB');
    case 'encoding.unsupported':
    case 'charset.unsupported':
      return new RondoError('body-type', message);
    default:
      return status === 400
        ? new RondoError('body-unreadable', message)
        : new RondoError('internal', '', { cause: error });
  }
}
