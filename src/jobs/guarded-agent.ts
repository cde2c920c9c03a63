import { lookup as dnsLookup, type LookupAddress } from 'node:dns';
import type { LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { Agent } from 'undici';
import { NonRetryableError } from '../errors.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** Host names, addresses and networks (`10.1.0.0/16`) that may be called though they are not public. */
export type Allowance = readonly string[];

/** Every address of a name, as `dns.lookup` with `all` answers them. */
export type Resolve = (
  hostname: string,
  options: { all: true; family?: number },
  answer: (error: Error | null, addresses: LookupAddress[]) => void,
) => void;

/**
 * An agent that connects to public addresses only: loopback, private, link-local and all other special ones are
 * refused unless they are allowed. A name is resolved once for each connection, and the connection goes to the
 * very addresses that were judged: a name that resolves differently the next time gains nothing.
 */
export async function createGuardedAgent(allowed: Allowance, resolve: Resolve = dnsLookup as Resolve): Promise<Agent> {
  const { Agent } = await import('undici');
  const lookup: LookupFunction = (hostname, { family }, answer) => {
    resolve(hostname, { all: true, family: typeof family === 'number' ? family : 0 }, (error, addresses) => {
      if (error) return answer(error, []);
      const refused = addresses.find(({ address }) => !allowsName(allowed, hostname) && !mayConnect(address, allowed));
      if (refused) answer(refusal(`${hostname} (${refused.address})`), []);
      else answer(null, addresses);
    });
  };
  return new Agent({ connect: { lookup, autoSelectFamily: true } });
}

/**
 * For hosts that are written as an address: no name is looked up for them.
 *
 * @throws NonRetryableError for another protocol than http and https, and for an address that is refused
 */
export function checkUrl(url: URL, allowed: Allowance): void {
  if (!['http:', 'https:'].includes(url.protocol)) {
    throw new NonRetryableError(`only http and https are called, not ${url.protocol.slice(0, -1)}`);
  }
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (ipaddr.isValid(host) && !mayConnect(host, allowed)) throw refusal(host);
}

function allowsName(allowed: Allowance, hostname: string): boolean {
  return allowed.some((entry) => entry.toLowerCase() === hostname.toLowerCase());
}

function mayConnect(text: string, allowed: Allowance): boolean {
  const address = ipaddr.process(text);
  return isPublic(address) || allowed.some((entry) => covers(entry, address));
}

/** Of IPv6 only what is handed out so far (RFC 4291): the rest holds odd spellings of other addresses. */
function isPublic(address: Address): boolean {
  return address.range() === 'unicast' && (address.kind() === 'ipv4' || address.match(handedOut));
}

const handedOut = ipaddr.parseCIDR('2000::/3') as [ipaddr.IPv6, number];

function covers(entry: string, address: Address): boolean {
  if (ipaddr.isValidCIDR(entry)) {
    const [base, bits] = ipaddr.parseCIDR(entry);
    return base.kind() === address.kind() && address.match(base, bits);
  }
  return ipaddr.isValid(entry) && ipaddr.process(entry).toString() === address.toString();
}

function refusal(what: string): NonRetryableError {
  return new NonRetryableError(`${what} is not a public address, and HTTP_REQUEST_ALLOW does not name it`);
}
