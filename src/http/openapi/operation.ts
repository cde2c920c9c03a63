import type { z } from 'zod';
import type { Scope } from '../../config.js';
import type { ErrorCode } from '../../errors.js';

/** One call of the API as its document tells it. The schemas are those that validate. */
export interface Operation {
  /** Its own among all operations: the name that generated clients call it by. */
  readonly id: string;
  readonly method: 'get' | 'post' | 'put' | 'delete';
  /** `/v1/jobs/{job}`. */
  readonly path: string;
  readonly tag: 'Jobs' | 'Runs' | 'Schedules' | 'Service';
  readonly summary: string;
  readonly description?: string;
  /** What a key must have; null where none is wanted. */
  readonly scope: Scope | null;
  readonly query?: z.ZodObject;
  readonly headers?: z.ZodObject;
  readonly body?: Body;
  /** By status. */
  readonly answers: Readonly<Record<number, OkAnswer>>;
  /** What this call may be refused with, beside what its scope, parameters and body bring along. */
  readonly errors: readonly ErrorCode[];
}

export interface Body {
  readonly schema: z.ZodType;
  readonly required: boolean;
  /** The body carries payloads of the job in the path: each job gets a path of its own. Where its payload stands. */
  readonly payloadAt?: 'payload' | 'runs[].payload';
}

export interface OkAnswer {
  readonly description: string;
  /** Of the JSON that comes; none where nothing does. */
  readonly schema?: z.ZodType;
  /** Of another type than `application/json`. */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Every code that an operation may answer with. */
export function errorsOf({ scope, method, path, query, headers, body, errors }: Operation): readonly ErrorCode[] {
  const codes: readonly (ErrorCode | false)[] = [
    path.includes('{') && 'address-unreadable',
    body !== undefined && 'body-unreadable',
    body !== undefined && 'body-too-large',
    body !== undefined && 'body-type',
    (body ?? query ?? headers) !== undefined && 'request-invalid',
    scope !== null && 'unauthenticated',
    scope !== null && 'forbidden',
    scope !== null && 'sign-ins-limited',
    scope !== null && path.startsWith('/v1/') && 'rate-limited',
    scope !== null && method !== 'get' && 'origin-refused',
    ...errors,
  ];
  return [...new Set(codes.filter((code) => code !== false))];
}
