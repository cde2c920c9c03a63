import { setTimeout } from 'node:timers/promises';
import type { Request, Response } from 'express';
import type { Broker } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import { show } from '../problems.js';
import type { Ticket } from '../producers/enqueue.js';
import { type Answer, type Asked, type Claim, claim, forget, keep } from '../producers/idempotency.js';
import { principalIn } from './guard.js';
import { withinMs } from './within.js';

export type Once = (
  request: Request,
  response: Response,
  perform: (ticket?: Ticket) => Promise<Answer>,
) => Promise<void>;

/**
 * Answers a request, and where it carries an `Idempotency-Key` only once: whoever sends it again within 24 h gets the
 * first answer. What is refused is not kept, so that the same key may come with what is right.
 *
 * @throws RondoError `request-invalid`, `idempotency-mismatch`, or `idempotency-in-progress`
 */
export function answerOnce(broker: Broker): Once {
  return async (request, response, perform) => {
    const key = keyIn(request);
    if (key === null) return send(response, await perform());
    const asked = askedBy(request, response, key);
    const taken = await take(broker, asked);
    if ('answer' in taken) {
      response.setHeader('Idempotent-Replayed', 'true');
      return send(response, taken.answer);
    }
    send(response, await carryOut(broker, taken.claim, perform));
  };
}

/** A caller waits no longer than this for Redis, or for another that is at the same request, in ms. */
const waitMs = 1_500;

async function take(broker: Broker, asked: Asked): Promise<{ claim: Claim } | { answer: Answer }> {
  const deadline = Date.now() + waitMs;
  for (let pauseMs = 20; ; pauseMs = Math.min(2 * pauseMs, 160)) {
    const found = await withinMs(Math.max(400, deadline - Date.now()), claim(broker, asked));
    if (found.type === 'mine' || found.type === 'answered') return found;
    if (found.type === 'mismatch') throw new RondoError('idempotency-mismatch', show(asked.key));
    if (Date.now() + pauseMs > deadline) throw new RondoError('idempotency-in-progress', show(asked.key));
    await setTimeout(pauseMs);
  }
}

async function carryOut(broker: Broker, mine: Claim, perform: (ticket: Ticket) => Promise<Answer>): Promise<Answer> {
  let answer: Answer;
  try {
    answer = await perform(mine.ticket);
  } catch (error) {
    // Where Redis is to blame nobody knows what it has: the record stays, and whoever asks again goes on from it.
    const refused = error instanceof RondoError && error.code !== 'redis-unreachable';
    if (refused) await withinMs(waitMs, forget(broker, mine)).catch(() => {});
    throw error;
  }
  await withinMs(waitMs, keep(broker, mine, answer));
  return answer;
}

function keyIn({ headers }: Request): string | null {
  const key = headers['idempotency-key'];
  if (key === undefined) return null;
  if (typeof key === 'string' && /^[\x21-\x7e]{1,255}$/.test(key)) return key;
  const expected = '1 to 255 visible ASCII characters';
  throw new RondoError('request-invalid', '', { problems: [{ where: 'Idempotency-Key', expected, got: show(key) }] });
}

function askedBy({ method, originalUrl, body }: Request, response: Response, key: string): Asked {
  const owner = principalIn(response)?.name ?? '';
  return { owner, key, request: JSON.stringify([method, originalUrl, body ?? null]) };
}

/** Node.js's own words: Express's would look for a type, a charset and a tag first. */
function send(response: Response, { status, location, body }: Answer): void {
  const headers = {
    'Content-Type': 'application/json; charset=utf-8',
    ...(location !== null && { Location: location }),
  };
  response.writeHead(status, headers);
  response.end(body);
}
