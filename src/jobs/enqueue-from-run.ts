import { z } from 'zod';
import { RondoError } from '../errors.js';
import { problemsOf } from '../problems.js';
import type { EnqueueFromRunOptions } from './context.js';
import { deduplicationKey, deduplicationKeyWords } from './deduplicate.js';
import { type EnqueueOptions, enqueueFields, enqueueOptions, refuseTwoTimes } from './enqueue-options.js';

const schema = z
  .strictObject({ key: z.string().regex(deduplicationKey, deduplicationKeyWords).optional(), ...enqueueFields })
  .superRefine(refuseTwoTimes);

/**
 * What a handler says of a run that it enqueues, in ms.
 *
 * @throws RondoError `run-invalid` with all that is wrong with it
 */
export function readFromRunOptions(
  given: EnqueueFromRunOptions,
  now: number,
): { readonly key: string | undefined; readonly options: EnqueueOptions } {
  const input = given.at instanceof Date ? { ...given, at: isoOf(given.at) } : given;
  const read = schema.safeParse(input);
  if (!read.success) {
    const known = Object.keys(schema.shape);
    const problems = problemsOf(read.error, input, { at: 'options ', known: () => known });
    throw new RondoError('run-invalid', '', { problems });
  }
  const { key, ...fields } = read.data;
  const found = enqueueOptions(fields, now);
  if ('problem' in found) throw new RondoError('run-invalid', '', { problems: [found.problem] });
  return { key, options: found.options };
}

function isoOf(time: Date): string {
  return Number.isNaN(time.getTime()) ? String(time) : time.toISOString();
}
