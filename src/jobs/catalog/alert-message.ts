import { z } from 'zod';
import { type AlertRule, alertRuleNames } from '../alerts.js';

/** What has begun or ended, on its way to one channel. */
export const alertMessageSchema = z.strictObject({
  /** The same for all channels: a receiver knows by it what it has had already. */
  id: z.string(),
  channel: z.enum(['webhook', 'email']),
  event: z.enum(['alert.started', 'alert.ended']),
  app: z.string(),
  at: z.iso.datetime(),
  alerts: z.array(
    z.strictObject({
      rule: z.enum(alertRuleNames),
      job: z.string(),
      /** Null where the alert is about the job itself, or about its runs that are no ticks. */
      schedule: z.string().nullable(),
      since: z.iso.datetime(),
      text: z.string(),
    }),
  ),
  /** How many there are beside those that are listed. */
  more: z.int().min(0),
});

export type AlertMessage = z.output<typeof alertMessageSchema>;

type Alert = AlertMessage['alerts'][number];

/** What each rule says of its subject. */
const words: Record<AlertRule, string> = {
  failed: 'failed',
  failures: 'fails again and again',
  missed: 'missed a tick, or is late',
  slow: 'is slower than usual',
  broken: 'is broken',
  queueAge: 'has runs that wait for long',
  noWorker: 'has no worker',
};

/** The generic format: what happened, to what, since when. */
export function inJson({ channel: _, ...message }: AlertMessage): object {
  return message;
}

/** An incoming webhook of Slack's, and of what speaks like it. */
export function inSlack(message: AlertMessage): object {
  const sign = message.event === 'alert.started' ? ':red_circle:' : ':large_green_circle:';
  const lines = message.alerts.map((alert) => `${sign} *${escaped(headOf(alert, message))}*: ${escaped(alert.text)}`);
  return { text: [...lines, ...moreOf(message)].join('\n') };
}

/** Subject and plain text of a mail. */
export function inMail(message: AlertMessage): { subject: string; text: string } {
  const { alerts, more, app, event } = message;
  const [first] = alerts;
  const total = alerts.length + more;
  const what = event === 'alert.started' ? 'alerts' : 'alerts are over';
  const subject = total === 1 && first ? headOf(first, message) : `${total} ${what}`;
  const lines = alerts.map((alert) => `${headOf(alert, message)}\n  ${alert.text}\n  since ${alert.since}`);
  return { subject: `[${app}] ${subject}`, text: `${[...lines, ...moreOf(message)].join('\n\n')}\n` };
}

function headOf({ rule, job, schedule }: Alert, { event }: AlertMessage): string {
  const subject = schedule === null || schedule === job ? job : `${schedule} (${job})`;
  return event === 'alert.started' ? `${subject} ${words[rule]}` : `over: ${subject} ${words[rule]}`;
}

function moreOf({ more }: AlertMessage): string[] {
  return more > 0 ? [`and ${more} more: rondo schedules list tells all`] : [];
}

/** What Slack takes for markup (https://docs.slack.dev/messaging/formatting-message-text). */
function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
