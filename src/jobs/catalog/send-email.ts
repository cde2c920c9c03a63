import { createHash } from 'node:crypto';
import type { Agent } from 'undici';
import { z } from 'zod';
import { NonRetryableError } from '../../errors.js';
import type { JobContext } from '../context.js';
import { defineJob, type ScheduleOptions } from '../define-job.js';
import { type Allowance, checkUrl, createGuardedAgent } from '../guarded-agent.js';
import { deliver, distinct, inWords, isFinal, MailError } from '../mail-server.js';
import { mailFrom, templateName } from './mail-template.js';

export interface SendEmailSettings {
  /** `smtp://[user:password@]host[:587]`, or `smtps://…` for TLS from the start. Without one the job is off. */
  readonly smtpUrl?: string | undefined;
  /** The sender, such as `Shop <shop@example.com>`. Without one the job is off. */
  readonly from?: string | undefined;
  /** The folder of the templates, absolute; the built-in ones alone unless told. */
  readonly templates?: string | null;
  /** What attachments may be read from though it is not public. */
  readonly allow?: Allowance;
  readonly schedules?: readonly ScheduleOptions<z.input<typeof payloadSchema>>[];
}

const mostRecipients = 100;
/** All attachments of a mail. What comes with the payload lies in Redis: what is larger lies at a URL. */
const mostBytes = 10 * 1_048_576;
const mostBytesInPayload = 1_048_576;

const oneLine = /^[^\p{C}\u2028\u2029]{1,200}$/u;

const anAddress = 'an e-mail address, or { name, address } with a name of one line';
const address = z.union(
  [z.email(), z.strictObject({ name: z.string().regex(oneLine), address: z.email() })],
  anAddress,
);
type Address = z.output<typeof address>;
const addresses = z.union([address.transform((one) => [one]), z.array(address)], `${anAddress}, or a list of them`);

const attachment = z
  .strictObject({
    filename: z.string().regex(/^[^\p{C}\u2028\u2029/\\]{1,200}$/u, 'the name of a file, without a folder'),
    contentType: z
      .string()
      .regex(/^[\w.+-]{1,100}\/[\w.+-]{1,100}$/, 'a type such as application/pdf')
      .optional(),
    base64: z.base64('base64').optional(),
    url: z.url({ protocol: /^https?$/, error: 'an http or https URL' }).optional(),
  })
  .refine(({ base64, url }) => (base64 === undefined) !== (url === undefined), 'either base64 or url');

const values = z
  .record(z.string().regex(/^\w{1,100}$/), z.union([z.string().max(100_000), z.number(), z.boolean()]))
  .default({});

const payloadSchema = z
  .strictObject({
    to: addresses,
    cc: addresses.default([]),
    bcc: addresses.default([]),
    replyTo: address.optional(),
    template: z.string().regex(templateName, 'the name of a template, such as message'),
    variables: values,
    /** Variables as well, which nobody is shown: links that sign in, say. */
    secrets: values,
    attachments: z
      .array(attachment)
      .max(20)
      .refine((all) => all.reduce((sum, { base64 = '' }) => sum + bytesIn(base64), 0) <= mostBytesInPayload, {
        error: `at most ${mostBytesInPayload} bytes in all that come as base64; what is larger lies at a URL`,
      })
      .default([]),
  })
  .refine((payload) => payload.to.length > 0 && recipientsOf(payload).length <= mostRecipients, {
    path: ['to'],
    error: `somebody, and at most ${mostRecipients} with cc and bcc`,
  });

type Payload = z.output<typeof payloadSchema>;

/** Sends a mail from a template by SMTP. For a jobs module as well: `export default [sendEmail({ smtpUrl, from })]`. */
export function sendEmail(settings: SendEmailSettings = {}) {
  const { smtpUrl = '', from = '', templates = null, allow = [], schedules = [] } = settings;
  return defineJob({
    name: 'send-email',
    description: 'Sends a mail from a template by SMTP',
    payload: payloadSchema,
    secret: ['secrets.*'],
    schedules,
    off: whyOff(smtpUrl, from),
    // Greylisting servers want a quarter of an hour.
    retry: { attempts: 8, delay: '30s', maxDelay: '1h' },
    timeout: '2m',
    async run(context) {
      const { payload, run, signal } = context;
      const { to, cc, replyTo, template } = payload;
      const messageId = messageIdOf(run, from);
      const write = async () => {
        const written = await mailFrom(templates, template, { ...payload.variables, ...payload.secrets });
        const attachments = await attachmentsOf(payload, allow, signal);
        const headers = { 'Auto-Submitted': 'auto-generated' };
        // Bcc is in no header: the envelope alone says to whom it goes.
        return { from, to, cc, ...(replyTo && { replyTo }), messageId, headers, ...written, attachments };
      };
      const delivery = { to: recipientsOf(payload), from: addressIn(from), write };
      const { accepted, refused } = await deliver(smtpUrl, delivery, context).catch(forGood);
      if (accepted.length === 0) throw new NonRetryableError(`refused: ${inWords(refused)}`);
      return { messageId, accepted, rejected: refused };
    },
  });
}

function whyOff(smtpUrl: string, from: string): string | null {
  const missing = [smtpUrl === '' && 'SMTP_URL', from === '' && 'MAIL_FROM'].filter(Boolean);
  if (missing.length > 0) return `${missing.join(' and ')} ${missing.length > 1 ? 'are' : 'is'} not set`;
  if (!URL.canParse(smtpUrl) || !/^smtps?:\/\/[^/]/.test(smtpUrl)) return 'SMTP_URL is no smtp:// or smtps:// address';
  return /^[^\s@<>,]+@[^\s@<>,]+$/.test(addressIn(from)) && oneLine.test(from) ? null : 'MAIL_FROM is no sender';
}

function recipientsOf({ to, cc, bcc }: Record<'to' | 'cc' | 'bcc', readonly Address[]>): string[] {
  return distinct([...to, ...cc, ...bcc].map((one) => (typeof one === 'string' ? one : one.address)));
}

/** The same at every attempt, so that a mail server, or a mailbox, may know what it has had already. */
function messageIdOf({ job, id, enqueuedAt }: JobContext['run'], from: string): string {
  const digest = createHash('sha256').update(JSON.stringify([job, id, enqueuedAt.getTime()]));
  return `<${digest.digest('hex').slice(0, 32)}@${addressIn(from).split('@').at(-1)}>`;
}

function addressIn(sender: string): string {
  return /<([^<>]*)>\s*$/.exec(sender)?.[1] ?? sender;
}

function forGood(error: unknown): never {
  throw error instanceof MailError && isFinal(error.reply) ? new NonRetryableError(error.message) : error;
}

const bytesIn = (base64: string) => Math.floor((base64.replace(/=+$/, '').length * 3) / 4);

async function attachmentsOf({ attachments }: Payload, allow: Allowance, signal: AbortSignal) {
  let bytes = 0;
  let agent: Agent | null = null;
  const read = [];
  for (const { filename, contentType, base64, url } of attachments) {
    if (url !== undefined) agent ??= await createGuardedAgent(allow);
    const content = url === undefined ? Buffer.from(base64 ?? '', 'base64') : await contentAt(new URL(url));
    bytes += content.length;
    read.push({ filename, content, ...(contentType && { contentType }) });
  }
  return read;

  async function contentAt(url: URL): Promise<Buffer> {
    checkUrl(url, allow);
    const { request } = await import('undici');
    const { statusCode: status, body } = await request(url, { signal, ...(agent && { dispatcher: agent }) });
    if (status !== 200) {
      body.on('error', () => {}).destroy();
      const message = `the attachment at ${url.host}: the server answered ${status}`;
      throw [408, 429].includes(status) || status >= 500 ? new Error(message) : new NonRetryableError(message);
    }
    return contentOf(body, mostBytes - bytes);
  }
}

/** Ends as soon as it is too much. */
async function contentOf(body: AsyncIterable<Buffer>, most: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > most) throw new NonRetryableError(`the attachments are larger than ${mostBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
