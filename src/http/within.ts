import { RondoError } from '../errors.js';

/**
 * What Redis answers in time. Who asks over HTTP must not hang on a Redis that does.
 *
 * @throws RondoError `redis-unreachable` where the time is over
 */
export function withinMs<Answer>(ms: number, work: Promise<Answer>): Promise<Answer> {
  // One promise, where a race would make five: every enqueue comes by here.
  return new Promise((resolve, reject) => {
    const late = () => reject(new RondoError('redis-unreachable', `no answer within ${ms} ms`));
    const timer = setTimeout(late, ms);
    work.then(
      (answer) => {
        clearTimeout(timer);
        resolve(answer);
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}
