import { type ApiAccess, loadApiAccess } from '../config.js';
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

/** The API that a command goes through; null where it works on Redis. @throws RondoError `config-invalid` */
export function apiAccess(): ApiAccess | null {
  return loadApiAccess(given);
}
