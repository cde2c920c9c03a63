import type { Request } from 'express';
import { type ClientRateLimitInfo, ipKeyGenerator, type Options } from 'express-rate-limit';
import type { Broker } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import { createCounter } from './counters.js';

/** So many wrong keys may come from an address in a minute; a /64 of IPv6 is one. */
const mostFailures = 10;
const windowMs = 60_000;

export type SignIns = ReturnType<typeof createSignIns>;

/**
 * Slows down who tries keys. Failures are counted in Redis, for all api processes; right keys cost it nothing. Who came
 * with a right key before goes on with it, so that a stranger behind the same proxy locks nobody out.
 *
 * @param refused is told of each wrong key that is still counted
 */
export function createSignIns(
  broker: Broker,
  now: () => number,
  refused: (request: Request, how: SignInWay) => Promise<void>,
) {
  const counter = createCounter(broker, 'sign-in');
  counter.init({ windowMs } as Options);
  const blockedUntil = new Map<string, number>();
  const known = new Map<string, Set<string>>();

  function limited(request: Request, address = addressOf(request)): RondoError | null {
    const until = blockedUntil.get(address) ?? 0;
    if (until <= now()) {
      blockedUntil.delete(address);
      return null;
    }
    const seconds = Math.ceil((until - now()) / 1_000);
    request.res?.set('Retry-After', String(seconds));
    return new RondoError('sign-ins-limited', `again in ${seconds} s`);
  }

  return {
    /**
     * A right key was sent.
     *
     * @throws RondoError `sign-ins-limited` where too many wrong ones came before it
     */
    accept(request: Request, key: string): void {
      const address = addressOf(request);
      const names = known.get(address);
      if (names?.has(key)) return;
      const error = limited(request);
      if (error) throw error;
      if (known.size >= mostAddresses) known.clear();
      known.set(address, (names ?? new Set()).add(key));
    },
    /**
     * A wrong one was.
     *
     * @throws RondoError `unauthenticated`, or `sign-ins-limited` from the eleventh in a minute on
     */
    async refuse(request: Request, how: SignInWay): Promise<never> {
      const address = addressOf(request);
      const error = limited(request);
      if (error) throw error;
      // A Redis that is away counts nothing, and lets nobody wait.
      const counted = await counter.increment(address).catch(() => null);
      if (counted && counted.totalHits > mostFailures) {
        if (blockedUntil.size >= mostAddresses) blockedUntil.clear();
        blockedUntil.set(address, now() + leftOf(counted));
        throw limited(request) ?? new RondoError('sign-ins-limited');
      }
      await refused(request, how);
      throw new RondoError('unauthenticated', 'that is no key of this server');
    },
  };
}

/** How long a counter still runs, in ms. */
function leftOf({ resetTime }: ClientRateLimitInfo): number {
  const left = (resetTime?.getTime() ?? 0) - Date.now();
  return Math.max(1_000, Math.min(left, windowMs));
}

/** What a request may try a key with. */
export type SignInWay = 'authorization' | 'form';

const mostAddresses = 10_000;

/** Whom a failure is counted for. */
function addressOf({ ip = 'unknown' }: Request): string {
  return ipKeyGenerator(ip, 64);
}
