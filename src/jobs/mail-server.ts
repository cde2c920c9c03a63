import type { SendMailOptions } from 'nodemailer';

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
  try {
    // Texts and attachments are what they are, never where to read them.
    const only = { disableFileAccess: true, disableUrlAccess: true, signal: cut.signal };
    const sent = await transport.sendMail({ ...mail, ...only });
    return { messageId: sent.messageId, accepted: sent.accepted.map(addressOf), refused: refusedIn(smtpUrl, sent) };
  } catch (error) {
    throw new MailError(smtpUrl, error);
  } finally {
    signal.removeEventListener('abort', cutSoon);
    transport.close();
  }
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
  const secrets = password ? [password, decodeURIComponent(password)] : [];
  return secrets.reduce((text, secret) => text.replaceAll(secret, '***'), said);
}
