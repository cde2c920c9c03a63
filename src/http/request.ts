import type { Request } from 'express';
import type { z } from 'zod';
import { RondoError } from '../errors.js';
import { problemsOf } from '../problems.js';

/** A caller waits no longer than this for Redis, in ms. */
export const answerMs = 1_500;

/** @throws RondoError `request-invalid` with all that the schema refuses */
export function read<Schema extends z.ZodObject>(schema: Schema, input: unknown): z.output<Schema> {
  const found = schema.safeParse(input);
  if (found.success) return found.data;
  const known = () => Object.keys(schema.shape);
  throw new RondoError('request-invalid', '', { problems: problemsOf(found.error, input, { known }) });
}

/** A part of the address. */
export function nameIn(request: Request, parameter: string): string {
  return String(request.params[parameter]);
}
