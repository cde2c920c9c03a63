import { domainToASCII } from 'node:url';
import type { SendMailOptions } from 'nodemailer';
import type { JobContext } from './context.js';

/** How long a mail server may take to answer, in ms. */
export const answerMs = 15_000;

/** How long a conversation may go on, in ms, once its run is to end: a mail that is all but sent gets its answer. */
const lastWordsMs = 800;

/** What a mail server said of one recipient. */
export interface RefusedRecipient {
  readonly address: string;
  /** The SMTP reply, such as 550; null where there was none. */
  readonly reply: number | null;
  readonly reason: string;
}

/** A mail that nobody was sent. The server may quote the password that it was given: that is hidden. */
export class MailError extends Error {
  override readonly name = 'MailError';
  /** The SMTP reply, such as 450; null where there was none. */
  readonly reply: number | null;
  readonly refused: readonly RefusedRecipient[];

  constructor(smtpUrl: string, error: unknown) {
    const { responseCode } = Object(error) as { responseCode?: number };
    super(`the mail server at ${new URL(smtpUrl).host} refused it: ${withoutPassword(smtpUrl, error)}`);
    this.reply = responseCode || null;
    this.refused = refusedIn(smtpUrl, error);
  }
}

/**
 * Sends one mail, over a connection of its own that ends with the signal.
 *
 * @param smtpUrl `smtp://[user:password@]host[:587]`, or `smtps://…` for TLS from the start
 * @returns whom the server took it for, and whom it refused meanwhile
 * @throws MailError
 */
export async function sendMail(smtpUrl: string, mail: SendMailOptions, signal: AbortSignal) {
  signal.throwIfAborted();
  // Only who sends mail pays for loading it.
  const { createTransport } = await import('nodemailer');
  const timeouts = { connectionTimeout: answerMs, greetingTimeout: answerMs, socketTimeout: answerMs };
  const cut = new AbortController();
  const cutSoon = () => void setTimeout(() => cut.abort(signal.reason), lastWordsMs).unref();
  signal.addEventListener('abort', cutSoon, { once: true });
  const transport = createTransport({ url: smtpUrl, ...timeouts });
  // Texts and attachments are what they are, never where to read them.
  const only = { disableFileAccess: true, disableUrlAccess: true, signal: cut.signal };
  const sent = await transport
    .sendMail({ ...mail, ...only })
    .catch((error) => {
      throw new MailError(smtpUrl, error);
    })
    .finally(() => {
      signal.removeEventListener('abort', cutSoon);
      transport.close();
    });
  return { messageId: sent.messageId, accepted: sent.accepted.map(addressOf), refused: refusedIn(smtpUrl, sent) };
}

/** How a run sends one mail to many, whatever befalls it. */
interface Delivery {
  /** Addresses; each once is enough. */
  readonly to: readonly string[];
  readonly from: string;
  /** Writes the mail, which is not done where everybody has it. */
  write(): Promise<SendMailOptions> | SendMailOptions;
}

/**
 * Sends a mail to each recipient once, over as many attempts of a run as that takes: whom the server has taken it for is
 * in the checkpoint, and the next attempt sends to the rest.
 *
 * @returns whom the server took it for, at whichever attempt, and whom it refused for good: that may be all of them
 * @throws MailError where it refused the mail itself; Error where it refused a recipient for now
 */
export async function deliver(
  smtpUrl: string,
  { to, from, write }: Delivery,
  { signal, log, checkpoint }: Pick<JobContext, 'signal' | 'log' | 'checkpoint'>,
): Promise<{ readonly accepted: readonly string[]; readonly refused: readonly RefusedRecipient[] }> {
  const before = (await checkpoint.read<string[]>()) ?? [];
  const left = distinct(to).filter((one) => !before.includes(one));
  if (left.length === 0) return { accepted: before, refused: [] };
  const mail = { ...(await write()), envelope: { from, to: left } };
  const { accepted, refused } = await sendMail(smtpUrl, mail, signal).catch(nobodyTookIt);
  const taken = [...before, ...accepted];
  if (accepted.length > 0) await checkpoint.write(taken);
  for (const one of refused) log.warn({ ...one }, 'the mail server refused a recipient');
  const deferred = refused.filter(({ reply }) => !isFinal(reply));
  if (deferred.length > 0) throw new Error(`refused for now: ${inWords(deferred)}`);
  return { accepted: taken, refused };
}

/** RFC 5321, 4.2.1: what begins with a 5 will be refused again. */
export const isFinal = (reply: number | null) => reply !== null && reply >= 500;

export const inWords = (refused: readonly RefusedRecipient[]) =>
  refused.map(({ address, reason }) => `${address} (${reason})`).join(', ');

/** Addresses, each once, as the server is told them and answers: with domains in small letters, and in ASCII. */
export function distinct(addresses: readonly string[]): string[] {
  const asTold = (address: string) =>
    address.replace(/[^@]*$/, (domain) => domainToASCII(domain) || domain.toLowerCase());
  return [...new Set(addresses.map(asTold))];
}

/** Anything but that all were refused is about the mail itself. */
function nobodyTookIt(error: unknown) {
  if (!(error instanceof MailError) || error.refused.length === 0) throw error;
  return { accepted: [], refused: error.refused };
}

const addressOf = (one: string | { address: string }) => (typeof one === 'string' ? one : one.address);

function refusedIn(smtpUrl: string, told: unknown): RefusedRecipient[] {
  const { rejectedErrors = [] } = Object(told) as {
    rejectedErrors?: readonly { recipient?: string; responseCode?: number; response?: string }[];
  };
  return rejectedErrors.map(({ recipient = '', responseCode, response = '' }) => ({
    address: recipient,
    reply: responseCode || null,
    reason: withoutPassword(smtpUrl, response),
  }));
}

function withoutPassword(smtpUrl: string, error: unknown): string {
  const { password } = new URL(smtpUrl);
  const said = error instanceof Error ? error.message : String(error);
  const secrets = password ? [password, decoded(password)] : [];
  return secrets.reduce((text, secret) => text.replaceAll(secret, '***'), said);
}

/** A password may have a bare `%`, which stands for nothing then. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
