import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type SendEmailSettings, sendEmail } from '../../src/jobs/catalog/send-email.js';
import type { JobContext } from '../../src/jobs/context.js';
import type { JobDefinition } from '../../src/jobs/define-job.js';
import { sendMail } from '../../src/jobs/mail-server.js';
import { redrive } from '../../src/producers/redrive.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { aborted } from '../support/gate.js';
import { eventually, fixture } from '../support/harness.js';
import { startTarget } from '../support/http.js';
import { freshFolder } from '../support/jobs-module.js';
import { reply, startMailServer } from '../support/mail-server.js';

const from = 'Shop <shop@example.com>';
const note = { to: 'ann@example.com', template: 'message', variables: { subject: 'Hello', text: 'Well?' } };

describe('send-email', () => {
  it('sends text and HTML of a template, escaped in HTML alone', async () => {
    const { server, succeed } = await start({
      files: {
        'welcome.txt': 'Subject: Welcome, {{name}}\n\nDear {{ name }}, {{n}} & more.\n',
        'welcome.html': '<p>Dear {{name}}, {{n}}</p>',
      },
    });

    const { result } = await succeed({
      to: ['ann@example.com', { name: 'Bob, the builder', address: 'bob@EXAMPLE.com' }],
      cc: 'cy@example.com',
      bcc: ['di@example.com'],
      replyTo: 'help@example.com',
      template: 'welcome',
      variables: { name: `"O'Neil" <b>`, n: 2 },
    });

    const everybody = ['ann', 'bob', 'cy', 'di'].map((name) => `${name}@example.com`);
    const [mail] = server.mails;
    expect(mail?.to).toEqual(everybody);
    expect(mail?.text).toContain('From: Shop <shop@example.com>\r\n');
    expect(mail?.text).toContain('To: ann@example.com, "Bob, the builder" <bob@example.com>\r\n');
    expect(mail?.text).toContain('Cc: cy@example.com\r\n');
    expect(mail?.text).not.toContain('di@example.com');
    expect(mail?.text).toContain('Reply-To: help@example.com\r\n');
    expect(mail?.text).toContain('Subject: =?UTF-8?Q?Welcome=2C_=22O=27Neil=22_=3Cb=3E?=\r\n');
    expect(mail?.text).toContain(`\r\n\r\nDear "O'Neil" <b>, 2 & more.\r\n`);
    const shown = '&quot;O&#39;Neil&quot; &lt;b&gt;';
    expect(mail?.text).toContain(`\r\n\r\n<p>Dear ${shown}, 2</p>\r\n`);
    expect(result).toMatchObject({ accepted: everybody, rejected: [] });
    expect(mail?.text).toContain(`Message-ID: ${result.messageId}\r\n`);
    expect(result.messageId).toMatch(/^<[0-9a-f]{32}@example\.com>$/);
  });

  it('has no header more, whatever stands in names, subjects and variables', async () => {
    const { server, succeed } = await start();
    const evil = 'x\r\nBcc: eve@example.com\r\n\r\nhello';
    await succeed({ ...note, variables: { subject: evil, text: evil } });

    const [mail] = server.mails;
    expect(mail?.to).toEqual(['ann@example.com']);
    expect(mail?.text).toContain('Subject: x Bcc: eve@example.com hello\r\n');
    expect(mail?.text.split('\r\n\r\n')[0]).not.toMatch(/^Bcc/m);
  });

  it('attaches what came with the payload, and what lies at a URL', async () => {
    const target = await startTarget((_, response) => void response.end('a;b\n'));
    const { server, succeed } = await start();
    const attachments = [
      { filename: 'note.txt', base64: Buffer.from('note').toString('base64') },
      { filename: 'ärger.csv', contentType: 'text/csv', url: `${target.url}/report` },
    ];
    await succeed({ ...note, attachments });

    const text = server.mails[0]?.text ?? '';
    expect(text).toContain('Content-Disposition: attachment; filename=note.txt\r\n');
    expect(text).toContain(Buffer.from('note').toString('base64'));
    expect(text).toMatch(/Content-Type: text\/csv;/);
    expect(text).toContain(Buffer.from('a;b\n').toString('base64'));
  });

  it('shows nobody its secrets', async () => {
    const { server, succeed, broker, job } = await start({ files: { 'reset.txt': 'Subject: Reset\n\n{{link}}\n' } });
    const { id } = await succeed({ ...note, template: 'reset', secrets: { link: 'https://example.com/once/abc' } });

    expect(server.mails[0]?.text).toContain('https://example.com/once/abc');
    expect((await findRun(broker, job, id)).payload).toMatchObject({ secrets: { link: '[secret]' } });
  });
});

describe('a mail server', () => {
  it('may have a password with a bare %, which nobody is told, and the mail is not sent twice for it', async () => {
    const passwords: unknown[] = [];
    const { mails, port } = await startMailServer({
      onAuth({ password }, _, done) {
        passwords.push(password);
        done(null, { user: 'user' });
      },
      onRcptTo: ({ address }, _, done) => done(address.startsWith('gone') ? reply(550, '50%off knows no such') : null),
    });
    const mail = { from, to: ['ann@example.com', 'gone@example.com'], text: 'Well?' };
    const sent = await sendMail(`smtp://user:50%off@127.0.0.1:${port}`, mail, new AbortController().signal);
    expect(sent).toMatchObject({
      accepted: ['ann@example.com'],
      refused: [{ address: 'gone@example.com', reply: 550, reason: '550 *** knows no such' }],
    });
    expect(passwords).toEqual(['50%off']);
    expect(mails).toHaveLength(1);
  });
});

describe('send-email tries again', () => {
  it('what the server refuses for now', async () => {
    const { server, add, events } = await start();
    server.replies.push(reply(451, 'greylisted'));
    await add(note);

    const { reason, retryInMs } = await events.next('run.failed');
    expect(reason).toContain('451 greylisted');
    expect(retryInMs).not.toBeNull();
    await events.next('run.succeeded');
    expect(server.mails).toHaveLength(1);
  });

  it('with those alone whom the server refused for now', async () => {
    const seen = new Set<string>();
    const { server, succeed } = await start({
      onRecipient(address) {
        const again = seen.has(address);
        seen.add(address);
        if (address.startsWith('gone')) return reply(550, 'no such user');
        return address.startsWith('busy') && !again ? reply(450, 'later') : null;
      },
    });

    const { result } = await succeed({ ...note, to: ['ann@example.com', 'busy@Example.com', 'gone@example.com'] });

    expect(server.mails.map(({ to }) => to)).toEqual([['ann@example.com'], ['busy@example.com']]);
    const ids = server.mails.map(({ text }) => /^Message-ID: (.*)$/m.exec(text)?.[1]);
    expect(new Set(ids).size).toBe(1);
    expect(result.accepted).toEqual(['ann@example.com', 'busy@example.com']);
    expect(result.rejected).toMatchObject([{ address: 'gone@example.com', reply: 550 }]);
  });

  it('a server that cannot be reached, and never tells its password', async () => {
    const { add, events } = await start({ settings: { smtpUrl: 'smtp://user:hush%2Fhush@127.0.0.1:1' } });
    await add(note);

    const { reason, retryInMs } = await events.next('run.failed');
    expect(reason).toContain('the mail server at 127.0.0.1:1 refused it');
    expect(reason).not.toContain('hush');
    expect(retryInMs).not.toBeNull();
  });

  it('a conversation that the timeout cuts, which leaves nothing to be taken later', async () => {
    const held: ((error: null) => void)[] = [];
    const { server, add, events } = await start({ timeout: 1_000, hold: (answer) => void held.push(answer) });
    await add(note);

    expect(await events.next('run.failed')).toMatchObject({ code: 'run-timed-out' });
    await eventually(() => server.open() < held.length);
    expect(server.mails).toEqual([]);
  });

  it('after a crash between the server’s word and the end of the run, and sends nothing twice', async () => {
    let calls = 0;
    const { server, add, events, broker, job } = await start({
      async around(handler, context) {
        const result = await handler(context);
        if (calls++ > 0) return result;
        // Its process is as good as dead: another takes the run.
        await broker.client.del(broker.queue(job.name).toKey(`${context.run.id}:lock`));
        return aborted(context.signal);
      },
    });
    const id = await add(note);
    await events.next('run.succeeded', undefined, 15_000);

    expect(events.of('run.started')).toHaveLength(2);
    expect(server.mails).toHaveLength(1);
    expect((await findRun(broker, job, id)).result).toMatchObject({ accepted: ['ann@example.com'] });
  });
});

describe('send-email fails for good', () => {
  it.each([
    ['a mail that the server refuses', reply(554, 'spam'), 'spam'],
    ['a mail whose every recipient it refuses', 'gone@example.com', 'refused: gone@example.com (550 no such user)'],
  ])('on %s', async (_, refusal, expected) => {
    const { server, add, events } = await start({
      onRecipient: (address) => (address.startsWith('gone') ? reply(550, 'no such user') : null),
    });
    if (refusal instanceof Error) server.replies.push(refusal);
    await add(typeof refusal === 'string' ? { ...note, to: refusal } : note);

    expect(await events.next('run.failed')).toMatchObject({
      retryInMs: null,
      reason: expect.stringContaining(expected),
    });
    expect(server.mails).toEqual([]);
  });

  it('and is sent when it is redriven, once the address is there', async () => {
    const gone = { is: true };
    const { server, add, events, broker, job } = await start({
      onRecipient: () => (gone.is ? reply(550, 'no such user') : null),
    });
    await add(note);
    await events.next('run.failed');
    gone.is = false;
    await redrive(broker, job);
    await events.next('run.succeeded');
    expect(server.mails).toHaveLength(1);
  });

  it.each([
    [
      'a variable that is missing',
      { template: 'odd', variables: { a: 1 } },
      '"odd": expected values for its variables; none came for b, c',
    ],
    [
      'what is no variable',
      { template: 'loop' },
      '"loop": expected {{variable}}, of letters, digits and _; got {{#each',
    ],
    ['a template without a subject', { template: 'bare' }, 'expected bare.txt to begin with a line "Subject: …"'],
    ['HTML without a text', { template: 'half' }, 'expected half.txt beside half.html'],
    [
      'a template that there is not',
      { template: 'od' },
      'no template "od" (did you mean "odd"?); there are: bare, loop, message, odd, own',
    ],
    ['a variable that every object has', { template: 'own', variables: {} }, 'none came for constructor'],
  ])('on %s, and says which', async (_, payload, expected) => {
    const files = {
      'odd.txt': 'Subject: {{a}}\n\n{{b}}',
      'odd.html': '{{c}}',
      'loop.txt': 'Subject: x\n\n{{#each a}}',
      'bare.txt': 'Hello',
      'half.html': '<p>',
      'own.txt': 'Subject: x\n\n{{constructor}}',
    };
    const { add, events } = await start({ files });
    await add({ to: 'ann@example.com', ...payload });
    expect(await events.next('run.failed')).toMatchObject({
      retryInMs: null,
      reason: expect.stringContaining(expected),
    });
  });

  it('on attachments that are too large, of which it reads no more than it may', async () => {
    let sent = 0;
    const target = await startTarget((_, response) => {
      const more = () => {
        while (!response.destroyed && sent < 60 * 1_048_576) {
          sent += 65_536;
          if (!response.write(Buffer.alloc(65_536))) return void response.once('drain', more);
        }
        response.end();
      };
      more();
    });
    const { server, add, events } = await start();
    await add({ ...note, attachments: [{ filename: 'a.bin', url: target.url }] });

    const reason = expect.stringContaining('the attachments are larger than 10485760 bytes');
    expect(await events.next('run.failed')).toMatchObject({ retryInMs: null, reason });
    expect(sent).toBeLessThan(30 * 1_048_576);
    expect(server.mails).toEqual([]);
  });

  it('on an attachment whose address is not public, or is not there', async () => {
    const target = await startTarget((_, response) => void response.writeHead(404).end());
    const { add, events } = await start();
    await add({ ...note, attachments: [{ filename: 'a', url: 'http://10.0.0.1/' }] });
    expect((await events.next('run.failed')).reason).toContain('10.0.0.1 is not a public address');
    const id = await add({ ...note, attachments: [{ filename: 'a', url: target.url }] });
    const failed = await events.next('run.failed', ({ run }) => run === id);
    expect(failed).toMatchObject({ retryInMs: null, reason: expect.stringContaining('the server answered 404') });
  });
});

describe('send-email refuses a payload', () => {
  const base64 = Buffer.alloc(1_048_577).toString('base64');
  it.each([
    ['without anybody', { to: [] }, 'payload.to: expected somebody'],
    [
      'with too many',
      { to: Array.from({ length: 101 }, (_, n) => `a${n}@example.com`) },
      'at most 100 with cc and bcc',
    ],
    ['with an address of two lines', { to: 'a@example.com\r\nBcc: eve@example.com' }, 'payload.to: expected an e-mail'],
    ['with a name of two lines', { to: { name: 'x\r\nBcc: y', address: 'a@example.com' } }, 'payload.to: expected'],
    ['with a template in another folder', { template: '../secrets' }, 'payload.template: expected the name'],
    ['with a file in another folder', { attachments: [{ filename: '../a', base64: '' }] }, 'without a folder'],
    ['with an attachment of two kinds', { attachments: [{ filename: 'a', base64: '', url: 'https://a.b' }] }, 'either'],
    ['with what is no base64', { attachments: [{ filename: 'a', base64: 'ä' }] }, 'attachments[0].base64: expected'],
    ['with too large an attachment', { attachments: [{ filename: 'a', base64 }] }, 'at most 1048576 bytes in all'],
    ['with a variable of an odd name', { variables: { 'a-b': 1 } }, 'payload.variables'],
  ])('%s', async (_, wrong, expected) => {
    const { add } = await start();
    await expect(add({ ...note, ...wrong })).rejects.toThrow(expected);
  });
});

describe('send-email without its settings', () => {
  it.each([
    [{}, 'SMTP_URL and MAIL_FROM are not set'],
    [{ smtpUrl: 'smtp://mail' }, 'MAIL_FROM is not set'],
    [{ smtpUrl: 'mail.example.com:hush', from }, 'SMTP_URL is no smtp:// or smtps:// address'],
    [{ smtpUrl: 'smtp://mail', from: 'Shop' }, 'MAIL_FROM is no sender'],
  ])('%j is off, and says why', (settings, off) => {
    expect(sendEmail(settings)).toMatchObject({ enabled: false, off });
  });
});

interface Start {
  readonly files?: Record<string, string>;
  readonly settings?: SendEmailSettings;
  /** Answers for each recipient; all are welcome unless told. */
  readonly onRecipient?: (address: string) => Error | null;
  /** Is given what answers a recipient, in its place. */
  readonly hold?: (answer: (error: null) => void) => void;
  readonly timeout?: number;
  /** Takes the place of the handler, which it is given. */
  readonly around?: (handler: JobDefinition['run'], context: JobContext) => unknown;
}

/** The job, quick to try again, with a worker, a mail server, and these templates. */
async function start({ files = {}, settings = {}, onRecipient = () => null, hold, ...rest }: Start = {}) {
  const { timeout = 30_000, around } = rest;
  const server = await startMailServer({
    onRcptTo: ({ address }, _, done) => (hold ? hold(done) : done(onRecipient(address))),
  });
  const templates = freshFolder();
  for (const [name, text] of Object.entries(files)) writeFileSync(join(templates, name), text);
  const given = sendEmail({ smtpUrl: server.url, from, templates, allow: ['127.0.0.1'], ...settings });
  const sender = given as unknown as JobDefinition;
  const run: JobDefinition['run'] = (context) => (around ? around(sender.run, context) : sender.run(context));
  const job = { ...sender, retry: { ...sender.retry, delay: 20 }, timeout, run };
  const { broker, events, work } = await fixture([job]);
  await work({ lockMs: 1_000, stalledCheckMs: 200 });
  const add = (payload: Record<string, unknown>) => enqueue(broker, job, payload);
  return {
    ...{ server, broker, events, job, add },
    async succeed(payload: Record<string, unknown>) {
      const id = await add(payload);
      await events.next('run.succeeded', ({ run }) => run === id);
      const { result } = await findRun(broker, job, id);
      return { id, result: result as { messageId: string; accepted: string[]; rejected: object[] } };
    },
  };
}
