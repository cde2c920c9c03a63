import { withoutPassword } from './addresses.js';
import { collectorKeys } from './collector.js';

/** The settings as an error may quote them. */
export function withoutSecrets(given: Record<string, string | undefined>) {
  return {
    ...given,
    ...(given.REDIS_URL && { REDIS_URL: withoutPassword(given.REDIS_URL) }),
    ...Object.fromEntries(secretAddresses.filter((key) => given[key]).map((key) => [key, '(not shown)'])),
    ...(given.RONDO_API_KEY && { RONDO_API_KEY: '(not shown)' }),
    ...(given.RONDO_API_KEYS && { RONDO_API_KEYS: given.RONDO_API_KEYS.split(',').map(() => '(not shown)') }),
  };
}

/** Who knows one of these may use it. */
const secretAddresses = [
  ...['RONDO_ALERT_WEBHOOK', 'RONDO_HEALTHCHECK_URL', 'SMTP_URL', 'DATABASE_URL', 'TOKENS_URL'],
  ...collectorKeys,
];
