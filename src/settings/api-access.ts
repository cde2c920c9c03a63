import { type Problem, RondoError } from '../errors.js';
import { show } from '../problems.js';
import { isPlainHttpUrl } from './addresses.js';

/** An API that commands work through, in place of Redis. */
export interface ApiAccess {
  readonly url: string;
  /** The secret of a key. */
  readonly key: string;
}

/**
 * Which API a command works through: what its options say, else RONDO_URL and RONDO_API_KEY; null where neither names
 * one. Nothing else of the environment has to be right for that.
 *
 * @throws RondoError `config-invalid`; the key is never shown
 */
export function readApiAccess(
  given: { url?: string | undefined; key?: string | undefined },
  env: Record<string, string | undefined>,
): ApiAccess | null {
  const url = option('--url', given.url, 'RONDO_URL', env);
  const key = option('--key', given.key, 'RONDO_API_KEY', env);
  if (url.value === undefined && given.key === undefined) return null;
  const problems: Problem[] = [];
  if (!isPlainHttpUrl(url.value ?? '')) problems.push(addressProblem(url.from, url.value));
  if (!/^[\x21-\x7e]+$/.test(key.value ?? '')) {
    const got = key.value === undefined ? 'nothing' : '(not shown)';
    problems.push({ where: key.from, expected: 'the secret of an API key', got });
  }
  if (problems.length > 0) throw new RondoError('config-invalid', '', { problems });
  return { url: String(url.value), key: String(key.value) };
}

/** The address of an API alone. @throws RondoError `config-invalid` */
export function readApiAddress(where: string, url: string): string {
  if (isPlainHttpUrl(url)) return url;
  throw new RondoError('config-invalid', '', { problems: [addressProblem(where, url)] });
}

/** What an option says, else the environment, and where that was said. */
function option(name: string, given: string | undefined, setting: string, env: Record<string, string | undefined>) {
  if (given !== undefined) return { value: given, from: name };
  const value = env[setting] || undefined;
  return { value, from: value === undefined ? `${name} or ${setting}` : setting };
}

function addressProblem(where: string, url: string | undefined): Problem {
  const expected = 'the address of an API, such as https://rondo.example, without a user or a password';
  return { where, expected, got: url?.includes('@') ? '(not shown)' : show(url) };
}
