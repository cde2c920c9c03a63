import type { JobContext } from '../context.js';
import { defineJob } from '../define-job.js';
import { answerMs, deliver, inWords } from '../mail-server.js';
import { type AlertMessage, alertMessageSchema, inJson, inMail, inSlack } from './alert-message.js';

export interface AlertSettings {
  readonly webhook: { readonly url: string; readonly format: 'json' | 'slack' } | null;
  readonly email: { readonly smtpUrl: string; readonly from: string; readonly to: readonly string[] } | null;
}

/** What the job that sends alerts is called, with any other jobs beside it. */
export const alertJobName = 'rondo-alert';

/**
 * Sends what has begun or ended to one channel. Part of every process that has a channel, whichever its jobs are: an alert
 * that is on its way when a process dies is sent by another.
 */
export function alertJob({ webhook, email }: AlertSettings = { webhook: null, email: null }) {
  return defineJob({
    name: alertJobName,
    description: 'Built in: sends alerts by webhook and e-mail',
    payload: alertMessageSchema,
    retry: { attempts: 15, delay: '2s', maxDelay: '10m' },
    timeout: answerMs + 5_000,
    concurrency: 2,
    retention: { completed: { age: '7d', count: 1_000 }, failed: { age: '14d', count: 1_000 } },
    // Who tells of it that nothing can be told?
    alerts: false,
    async run(context) {
      const { payload: message, signal } = context;
      if (message.channel === 'webhook') {
        if (!webhook) throw missing('RONDO_ALERT_WEBHOOK');
        return post(webhook, message, signal);
      }
      if (!email) throw missing('RONDO_ALERT_EMAIL');
      return mail(email, message, context);
    },
  });
}

/** Another worker, or this one after its next start, may have it. */
function missing(setting: string): Error {
  return new Error(`${setting} is not set for this worker: workers and producers want the same channels`);
}

async function post(
  { url, format }: NonNullable<AlertSettings['webhook']>,
  message: AlertMessage,
  signal: AbortSignal,
) {
  const { request } = await import('undici');
  const { host } = new URL(url);
  const response = await request(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'user-agent': 'rondo', 'idempotency-key': message.id },
    body: JSON.stringify(format === 'slack' ? inSlack(message) : inJson(message)),
    signal: AbortSignal.any([signal, AbortSignal.timeout(answerMs)]),
    reset: true,
  }).catch((error: Error & { code?: string }) => {
    // What the client says may hold the whole address.
    throw new Error(`the webhook at ${host} cannot be reached: ${error.code ?? error.name}`);
  });
  response.body.on('error', () => {}).destroy();
  const { statusCode: status } = response;
  if (status < 200 || status > 299) throw new Error(`the webhook at ${host} answered ${status}`);
  return { status };
}

async function mail(
  { smtpUrl, from, to }: NonNullable<AlertSettings['email']>,
  message: AlertMessage,
  context: Pick<JobContext, 'signal' | 'log' | 'checkpoint'>,
) {
  const messageId = `<${message.id}@${message.app.replace(/[^\w.-]/g, '-')}.rondo>`;
  const headers = { 'Auto-Submitted': 'auto-generated' };
  const write = () => ({ from, to: [...to], ...inMail(message), messageId, headers });
  const { accepted, refused } = await deliver(smtpUrl, { to, from, write }, context);
  // Not for good: whoever runs the mail server may hear of it in time.
  if (accepted.length === 0) throw new Error(`refused: ${inWords(refused)}`);
  return { messageId };
}
