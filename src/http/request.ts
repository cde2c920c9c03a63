import type { Request } from 'express';
import type { z } from 'zod';
import { RondoError } from '../errors.js';
import { isoTime } from '../jobs/words.js';
import { nearest, problemsOf } from '../problems.js';

/** A caller waits no longer than this for Redis, in ms. */
export const answerMs = 1_500;

/** @throws RondoError `request-invalid` with all that the schema refuses */
export function read<Schema extends z.ZodObject>(schema: Schema, input: unknown): z.output<Schema> {
  const found = schema.safeParse(input);
  if (found.success) return found.data;
  const known = () => Object.keys(schema.shape);
  const got = gotBeside(known);
  throw new RondoError('request-invalid', '', { problems: problemsOf(found.error, input, { known, got }) });
}

/**
 * What `problemsOf` tells of what came at a place, so that it quotes no payload: nothing of a name that nobody knows,
 * nor of a list where the body should be an object.
 *
 * @param known the names that are understood at a place
 */
export function gotBeside(known: (path: readonly PropertyKey[]) => readonly string[]) {
  return (path: readonly PropertyKey[], isUnknown: boolean): string | null => {
    if (isUnknown) return isMisspelt(String(path.at(-1)), known(path.slice(0, -1))) ? null : 'a value';
    return path.length === 0 ? 'a list' : null;
  };
}

/** Of a name that nobody knows the value is not told: it may be a secret that belongs into a payload, or all of one. */
function isMisspelt(name: string, known: readonly string[]): boolean {
  const near = name.length >= 5 ? nearest(name, known, 2) : null;
  return near !== null && near !== 'payload' && near !== 'runs';
}

/** For the schema of a range of time, in ms since the epoch. */
export function refuseReversed({ from, to }: Range, context: z.RefinementCtx): void {
  if (from === undefined || to === undefined || from <= to) return;
  context.addIssue({ code: 'custom', path: ['to'], message: `a time at or after from, ${isoTime(from)}` });
}

interface Range {
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

/** A part of the address. */
export function nameIn(request: Request, parameter: string): string {
  return String(request.params[parameter]);
}
