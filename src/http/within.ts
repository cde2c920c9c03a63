import { RondoError } from '../errors.js';

/**
 * What Redis answers in time; that it is away otherwise. Who asks over HTTP must not hang on a Redis that does.
 *
 * @throws RondoError `redis-unreachable`, also where Redis refused for reasons of its own
 */
export async function withinMs<Answer>(ms: number, work: Promise<Answer>): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new RondoError('redis-unreachable', `no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } catch (error) {
    if (error instanceof RondoError || !isRedisTrouble(error)) throw error;
    throw new RondoError('redis-unreachable', (error as Error).message, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function isRedisTrouble(error: unknown): boolean {
  const { name = '', message = '', code = '' } = error as { name?: string; message?: string; code?: string };
  return (
    /^(ECONN|ETIMEDOUT|EPIPE|ENOTFOUND|EAI_AGAIN)/.test(code) ||
    ['MaxRetriesPerRequestError', 'ReplyError', 'ClusterAllFailedError'].includes(name) ||
    /Connection is closed|enableOfflineQueue|Command timed out|^(OOM|LOADING|READONLY|MASTERDOWN|CLUSTERDOWN) /.test(
      message,
    )
  );
}
