/** Two names as the field of a hash, whatever is in them: an app and a job, or an app and a release. */
export function pairField(first: string, second: string): string {
  return JSON.stringify([first, second]);
}

/** The names of a field; none where a hand or another program has made it. */
export function readPairField(field: string): string[] {
  try {
    const parts: unknown = JSON.parse(field);
    return Array.isArray(parts) ? parts.map(String) : [];
  } catch {
    return [];
  }
}
