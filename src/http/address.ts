import type { Request } from 'express';

/** Where a request came from, as `RONDO_TRUST_PROXY` lets us know; IPv4 as itself. */
export function plainAddress({ ip = 'unknown' }: Request): string {
  return ip.replace(/^::ffff:(?=\d+\.)/i, '');
}
