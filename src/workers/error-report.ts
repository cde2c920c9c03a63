/** How often the same error is told again while it goes on, in ms. */
const repeatEveryMs = 30_000;

/**
 * A listener for a worker's errors that tells each kind once, and then now and then how often it came: a Redis
 * that is out of memory makes thousands a second. What the connection or the run's own event tells is left out.
 */
export function createErrorReport(tell: (error: Error, times: number) => void): (error: Error) => void {
  const seen = new Map<string, { toldAt: number; times: number }>();
  return (error) => {
    if (toldElsewhere(error)) return;
    const kind = error.message.replace(/\d+/g, '#').slice(0, 100);
    const now = performance.now();
    const entry = seen.get(kind) ?? { toldAt: Number.NEGATIVE_INFINITY, times: 0 };
    entry.times++;
    if (now - entry.toldAt >= repeatEveryMs) {
      tell(error, entry.times);
      seen.set(kind, { toldAt: now, times: 0 });
    } else {
      seen.set(kind, entry);
    }
    if (seen.size > 100) seen.clear();
  };
}

function toldElsewhere(error: Error): boolean {
  const { code = '' } = error as { code?: string };
  return (
    /^(ECONN|ETIMEDOUT|EPIPE|ENOTFOUND|EAI_AGAIN)/.test(code) ||
    /^Connection is closed|could not renew lock|^Missing lock for job|^Lock mismatch/.test(error.message)
  );
}
