import { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import {
  ATTR_HTTP_REQUEST_METHOD,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_HTTP_ROUTE,
} from '@opentelemetry/semantic-conventions';
import type { RequestHandler } from 'express';
import { tracerName } from './trace-runs.js';

/**
 * A span for each request, in the trace of its caller where there is one. It tells the route's template, and nothing of
 * what came in the address or the body.
 */
export const traceRequests: RequestHandler = (request, response, next) => {
  const { method, baseUrl, headers } = request;
  const { traceparent, tracestate } = headers;
  const caller = propagation.extract(ROOT_CONTEXT, { traceparent, tracestate });
  const attributes = { [ATTR_HTTP_REQUEST_METHOD]: method };
  const span = trace.getTracer(tracerName).startSpan(method, { kind: SpanKind.SERVER, attributes }, caller);
  // Of one whose caller has left too.
  response.once('close', () => {
    const route = request.route ? `${baseUrl}${request.route.path}` : null;
    if (route) span.updateName(`${method} ${route}`).setAttribute(ATTR_HTTP_ROUTE, route);
    if (response.headersSent) span.setAttribute(ATTR_HTTP_RESPONSE_STATUS_CODE, response.statusCode);
    if (response.statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end();
  });
  context.with(trace.setSpan(caller, span), next);
};
