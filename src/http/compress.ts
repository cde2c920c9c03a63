import compression from 'compression';
import type { RequestHandler } from 'express';

/**
 * Lists and pages go out compressed to whoever takes that: a page of schedules is a tenth of its size then. Not what
 * changes something, whose answer is short, and not events, which must not be held back until a block of them is full.
 */
export function compressReads(): RequestHandler {
  const compress = compression({
    filter: (request, response) =>
      !String(response.getHeader('Content-Type')).startsWith('text/event-stream') &&
      compression.filter(request, response),
  });
  return (request, response, next) => {
    if (request.method === 'GET') compress(request, response, next);
    else next();
  };
}
