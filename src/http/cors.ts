import type { Request, RequestHandler, Response } from 'express';

/**
 * Lets pages of the named origins call the API with a key of their own in the Authorization header. Cookies are never
 * taken from them.
 */
export function cors(origins: readonly string[]): RequestHandler {
  const allowed = new Set(origins);
  return (request, response, next) => {
    const { origin } = request.headers;
    response.vary('Origin');
    if (origin === undefined || !allowed.has(origin)) return next();
    response.locals.allowedOrigin = origin;
    response.set('Access-Control-Allow-Origin', origin);
    response.set('Access-Control-Expose-Headers', exposed);
    if (request.method !== 'OPTIONS' || !request.headers['access-control-request-method']) return next();
    response.set({
      'Access-Control-Allow-Methods': 'GET, POST, PUT, PATCH, DELETE',
      'Access-Control-Allow-Headers':
        'Authorization, Content-Type, Idempotency-Key, Last-Event-ID, traceparent, tracestate',
      'Access-Control-Max-Age': '600',
    });
    response.status(204).end();
  };
}

/** A browser adds neither by itself: a page that sends a bearer's secret knows it. */
export function isFromAllowedOrigin(request: Request, response: Response): boolean {
  const isBearer = /^bearer /i.test(request.headers.authorization ?? '');
  return isBearer && response.locals.allowedOrigin !== undefined;
}

const exposed = 'Location, Retry-After, Idempotent-Replayed, RateLimit, RateLimit-Policy';
