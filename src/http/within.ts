import { RondoError } from '../errors.js';

/**
 * What Redis answers in time. Who asks over HTTP must not hang on a Redis that does.
 *
 * @throws RondoError `redis-unreachable` where the time is over
 */
export async function withinMs<Answer>(ms: number, work: Promise<Answer>): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new RondoError('redis-unreachable', `no answer within ${ms} ms`)), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
