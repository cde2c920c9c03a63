import type { Broker } from '../broker/queues.js';
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

/** The same of what takes Redis long where there is much: whether it answers at all is known as soon as ever. */
export async function withinLongMs<Answer>(
  { client }: Broker,
  ms: number,
  work: () => Promise<Answer>,
): Promise<Answer> {
  await withinMs(pingMs, client.ping());
  return withinMs(ms, work());
}

/** Less than a caller waits for an answer: a look for the audit log may have gone before. */
const pingMs = 1_000;
