import { z } from 'zod';
import type { Operation } from './operation.js';

const part = z.object({
  status: z.enum(['ready', 'unready']),
  since: z.iso.datetime(),
  reason: z.string().optional(),
});
const ready = z.object({
  status: z.enum(['ready', 'unready']),
  parts: z.object({
    redis: part.extend({ address: z.string(), answeredInMs: z.int().optional() }),
    producer: part.optional(),
    worker: part.optional(),
  }),
});

export const serviceOperations: readonly Operation[] = [
  {
    id: 'isAlive',
    method: 'get',
    path: '/livez',
    tag: 'Service',
    summary: 'Whether the process answers',
    scope: null,
    answers: { 200: { description: 'It does', schema: z.object({ status: z.literal('alive') }) } },
    errors: [],
  },
  {
    id: 'isReady',
    method: 'get',
    path: '/readyz',
    tag: 'Service',
    summary: 'Whether Redis answers the process',
    scope: null,
    answers: {
      200: { description: 'It does', schema: ready },
      503: { description: 'It does not, and why', schema: ready },
    },
    errors: [],
  },
  {
    id: 'getMetrics',
    method: 'get',
    path: '/metrics',
    tag: 'Service',
    summary: 'What Prometheus reads',
    description: 'For a key that is for all jobs.',
    scope: 'read',
    answers: {
      200: { description: 'The text format of Prometheus', type: 'text/plain; version=0.0.4', schema: z.string() },
    },
    errors: [],
  },
  {
    id: 'getOpenApi',
    method: 'get',
    path: '/openapi.json',
    tag: 'Service',
    summary: 'This document',
    description: 'It names jobs and what they take, as `GET /v1/jobs` does, and wants the same scope.',
    scope: 'read',
    answers: { 200: { description: 'OpenAPI 3.1', schema: z.looseObject({ openapi: z.string() }) } },
    errors: [],
  },
];
