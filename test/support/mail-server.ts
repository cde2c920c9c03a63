import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { onTestFinished } from 'vitest';

export interface ReceivedMail {
  readonly to: readonly string[];
  /** Headers and body, as they came. */
  readonly text: string;
}

/** A mail server that keeps what it took; closed when the test is over. */
export async function startMailServer(options: Pick<SMTPServerOptions, 'onRcptTo' | 'onAuth'> = {}) {
  const mails: ReceivedMail[] = [];
  /** Answers the end of a mail, in place of taking it. */
  const replies: (Error | null)[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    allowInsecureAuth: true,
    ...options,
    onData(stream, session, done) {
      let text = '';
      stream.setEncoding('utf8').on('data', (data: string) => {
        text += data;
      });
      stream.on('end', () => {
        const refusal = replies.shift();
        if (!refusal) mails.push({ to: session.envelope.rcptTo.map(({ address }) => address), text });
        done(refusal);
      });
    },
  });
  server.on('error', () => {}); // a client that goes in the midst of its words
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  onTestFinished(() => new Promise<void>((resolve) => server.close(() => resolve())));
  const { port } = server.server.address() as AddressInfo;
  /** How many conversations go on. */
  const open = () => server.connections.size;
  return { open, url: `smtp://127.0.0.1:${port}`, port, mails, replies };
}

/** A refusal as a mail server words it. */
export function reply(responseCode: number, message: string): Error {
  return Object.assign(new Error(message), { responseCode });
}
