import type { ErrorRequestHandler, Response } from 'express';
import { errorTable, RondoError } from '../errors.js';
import { faultInJson } from '../json-fault.js';

/** Answers an error as problem details (RFC 9457), with its code and what exactly is wrong. */
function sendProblem(response: Response, error: RondoError, further: object): void {
  const { code, status, problems, detail, retryable } = error;
  if (retryable && [409, 429, 503].includes(status) && !response.hasHeader('Retry-After'))
    response.set('Retry-After', '2');
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
        ...further,
      }),
    );
}

/** The end of every route. */
export function problemHandler(report: (error: unknown) => void): ErrorRequestHandler {
  return (error, request, response, next) => {
    if (response.headersSent) return next(error);
    const known = inOurWords(error);
    if (known.code === 'internal') report(error);
    sendProblem(response, known, request.originalUrl.startsWith('/board/') ? wordsForBoard(known) : {});
  };
}

/** What Bull Board shows of an answer that it did not want. */
function wordsForBoard({ code, message }: RondoError) {
  const { message: title } = errorTable[code];
  return { error: title, message: message.slice(title.length).replace(/^: /, '') };
}

/** Our own errors as they are; those of Redis, of Express and of its body parsers translated; the rest as `internal`. */
export function inOurWords(error: unknown): RondoError {
  if (error instanceof RondoError) return error;
  const { message = '', status, limit, type, body } = (error ?? {}) as BodyError;
  if (isRedisTrouble(error)) return new RondoError('redis-unreachable', message, { cause: error });
  if (status === 413) return new RondoError('body-too-large', `at most ${sizeInWords(limit ?? 2 ** 20)}`);
  if (status === 415) return new RondoError('body-type', message);
  // Express's own word for an address such as "/v1/jobs/%ff".
  if (error instanceof URIError) return new RondoError('address-unreadable', message);
  if (type === 'entity.parse.failed') return new RondoError('body-unreadable', faultInJson(String(body)));
  if (status === 400) return new RondoError('body-unreadable', message);
  return new RondoError('internal', '', { cause: error });
}

/** What Express's readers of bodies throw. The words of one that is no JSON quote it, and with it what is secret. */
interface BodyError {
  readonly message?: string;
  readonly status?: number;
  readonly limit?: number;
  readonly type?: string;
  readonly body?: unknown;
}

function sizeInWords(bytes: number): string {
  return bytes < 2 ** 20 ? `${bytes / 2 ** 10} KiB` : `${bytes / 2 ** 20} MiB`;
}

function isRedisTrouble(error: unknown): boolean {
  const { name = '', message = '', code = '' } = (error ?? {}) as { name?: string; message?: string; code?: string };
  return (
    /^(ECONN|ETIMEDOUT|EPIPE|ENOTFOUND|EAI_AGAIN)/.test(code) ||
    ['MaxRetriesPerRequestError', 'ReplyError', 'ClusterAllFailedError'].includes(name) ||
    /Connection is closed|Command aborted due to connection close|enableOfflineQueue|Command timed out/.test(message) ||
    /^(OOM|LOADING|READONLY|MASTERDOWN|CLUSTERDOWN) /.test(message)
  );
}
