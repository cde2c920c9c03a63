import type { z } from 'zod';
import type { Problem } from '../errors.js';
import { problemsOf } from '../problems.js';
import { createRedactor, hidden, isSecretAt, redactPayload, type SecretPaths } from './secrets.js';

/** What a schema refuses of a payload, without its secrets. An unknown field may be one, misspelt. */
export function payloadProblems(
  secret: SecretPaths,
  error: z.core.$ZodError,
  payload: unknown,
  at = 'payload',
): Problem[] {
  if (secret.length === 0) return problemsOf(error, payload, { at });
  const got = (path: readonly PropertyKey[], isUnknown: boolean) => {
    return isUnknown || isSecretAt(secret, path) ? hidden : null;
  };
  // A schema's own messages may quote what they refuse.
  const { text } = createRedactor(secret, [payload]);
  const problems = problemsOf(error, redactPayload(secret, payload), { at, got });
  return problems.map((problem) => ({ ...problem, expected: text(problem.expected), got: text(problem.got) }));
}

/** What is shown for a secret came as one: somebody read a payload, and sent it back. */
export function copiedSecret(where: string): Problem {
  return { where, expected: 'the secrets themselves, not the word that is shown for them', got: hidden };
}
