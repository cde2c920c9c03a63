import type { z } from 'zod';
import { RondoError } from '../errors.js';
import { problemsOf } from '../problems.js';

/** @throws RondoError `request-invalid` with all that the schema refuses of a body or a query */
export function read<Schema extends z.ZodObject>(schema: Schema, input: unknown): z.output<Schema> {
  const found = schema.safeParse(input);
  if (found.success) return found.data;
  const known = () => Object.keys(schema.shape);
  throw new RondoError('request-invalid', '', { problems: problemsOf(found.error, input, { known }) });
}
