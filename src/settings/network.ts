import { isIP } from 'node:net';
import { z } from 'zod';
import { parseDuration } from '../duration.js';
import { commaSeparated } from './lists.js';

/** At most so many in each window of so many ms. */
export interface RateLimit {
  readonly max: number;
  readonly perMs: number;
}

export function readRateLimit(text: string, context: z.RefinementCtx): RateLimit | null {
  if (text === '') return null;
  const [, max = '', per = ''] = /^(\d{1,9})\/(\w+)$/.exec(text) ?? [];
  const perMs = parseDuration(per) ?? 0;
  if (Number(max) >= 1 && perMs >= 1_000 && perMs <= 86_400_000) return { max: Number(max), perMs };
  context.addIssue({ code: 'custom', message: 'requests per time, such as 1000/1m: at least 1, in 1s to 24h' });
  return z.NEVER;
}

export function readTrustProxy(text: string, context: z.RefinementCtx): number | string[] | false {
  if (text === '' || text === '0') return false;
  if (/^\d$/.test(text)) return Number(text);
  const given = commaSeparated(text.toLowerCase());
  const known = (entry: string) => wholeRanges.includes(entry) || (/^[\d.:a-f/]+$/.test(entry) && isNetwork(entry));
  if (given.length > 0 && given.every(known)) return given;
  const message = `how many proxies stand before it (1 to 9), or their addresses: 10.0.0.0/8,::1,${wholeRanges.join(',')}`;
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
}

export function isOrigin(text: string): boolean {
  return /^https?:\/\/[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text;
}

export function isHostOrNetwork(entry: string): boolean {
  return isNetwork(entry) || /^[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?$/.test(entry);
}

const wholeRanges = ['loopback', 'linklocal', 'uniquelocal'];

/** An address, or a range of them. */
function isNetwork(entry: string): boolean {
  const [address = '', bits, ...rest] = entry.split('/');
  if (bits === undefined) return isIP(entry) > 0;
  return rest.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= ({ 4: 32, 6: 128 }[isIP(address)] ?? -1);
}
