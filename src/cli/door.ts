import { type ApiAccess, loadApiAccess, readApiAddress } from '../config.js';
import { RondoError } from '../errors.js';

/** What the options of the program itself say, before any command begins: a process runs one. */
let given: { url?: string; key?: string } = {};

export function workThrough(options: { url?: string; key?: string }): void {
  given = options;
}

/** @throws RondoError `usage-wrong` where an API was asked for in so many words, and the command does not go through one */
export function refuseApi(): void {
  if (given.url === undefined && given.key === undefined) return;
  throw new RondoError('usage-wrong', 'this command does not go through an API: it takes no --url and no --key');
}

/**
 * The API that `--url` names, for what wants no key. RONDO_URL is not asked: a probe of a process that calls an API
 * would be told of that.
 *
 * @throws RondoError `config-invalid`, or `usage-wrong` for a key without an address
 */
export function urlGiven(): string | null {
  if (given.url !== undefined) return readApiAddress('--url', given.url);
  if (given.key === undefined) return null;
  throw new RondoError('usage-wrong', 'this command goes through the API that --url names, and needs no --key');
}

/** The API that a command goes through; null where it works on Redis. @throws RondoError `config-invalid` */
export function apiAccess(): ApiAccess | null {
  return loadApiAccess(given);
}
