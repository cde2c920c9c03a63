import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { httpRequest } from '../../src/jobs/catalog/http-request.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { payloadSchemaOf } from '../../src/jobs/describe.js';
import { createRedactor, redactPayload } from '../../src/jobs/secrets.js';

describe('a payload', () => {
  test('is shown without what lies at the paths, and is not changed', () => {
    const payload = {
      token: 'abc',
      smtp: { password: 'x', host: 'mx' },
      keys: [{ k: 1 }, { k: 2 }],
      map: { a: { v: 1 } },
    };
    const before = structuredClone(payload);
    expect(redactPayload(['token', 'smtp.password', 'keys.*.k', 'map.*.v'], payload)).toEqual({
      token: '[secret]',
      smtp: { password: '[secret]', host: 'mx' },
      keys: [{ k: '[secret]' }, { k: '[secret]' }],
      map: { a: { v: '[secret]' } },
    });
    expect(payload).toEqual(before);
    expect(redactPayload([], payload)).toBe(payload);
  });

  test.each([
    ['a text in place of all', 'abc', '[secret]'],
    ['a text in place of an object', { smtp: 'abc' }, { smtp: '[secret]' }],
    ['a list that the path does not tell of', [{ smtp: { password: 'x' } }], [{ smtp: { password: '[secret]' } }]],
    ['an object where a text was meant', { smtp: { password: { is: 'x' } } }, { smtp: { password: '[secret]' } }],
    ['nothing', { smtp: {} }, { smtp: {} }],
    ['null', { smtp: { password: null } }, { smtp: { password: null } }],
  ])('with %s shows no more', (_what, payload, shown) => {
    expect(redactPayload(['smtp.password'], payload)).toEqual(shown);
  });
});

describe('a secret', () => {
  const secret = 'p"q/ü+z 9';
  const redactor = createRedactor(['token'], [{ token: secret }]);

  test.each([
    ['as it is', secret],
    ['in JSON', JSON.stringify({ secret })],
    ['in JSON within JSON', JSON.stringify(JSON.stringify({ secret }))],
    ['in a URL', `https://x/?t=${encodeURIComponent(secret)}`],
    ['in a form', new URLSearchParams({ secret }).toString()],
    ['in base64', Buffer.from(secret).toString('base64')],
    ['in base64url', Buffer.from(secret).toString('base64url')],
    ['in hex', Buffer.from(secret).toString('hex')],
  ])('is hidden in a text %s', (_how, text) => {
    expect(redactor.text(`<${text}>`)).toMatch(/^<.*\[secret\].*>$/);
    expect(redactor.text(`<${text}>`)).not.toContain('9');
  });

  test('of many lines is hidden line by line', () => {
    const pem = '-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----';
    const { text } = createRedactor(['key'], [{ key: pem }]);
    expect(text('at line 2: kqhkiG9w0BAQEF')).toBe('at line 2: [secret]');
  });

  test('is hidden whole, where another one begins alike', () => {
    const { text } = createRedactor(['a', 'b'], [{ a: 'abcd', b: 'abcdefgh' }]);
    expect(text('abcdefgh abcd')).toBe('[secret] [secret]');
  });

  test('of three letters is hidden where it stands alone, and leaves texts readable', () => {
    const { text, value } = createRedactor(['pin'], [{ pin: 'the' }]);
    expect(text('the other')).toBe('the other');
    expect(value({ pin: 'the', note: 'the other' })).toEqual({ pin: '[secret]', note: 'the other' });
  });

  test('is hidden in values, names of fields and numbers', () => {
    const { value } = createRedactor(['token', 'pin'], [{ token: 'tok-1234', pin: 4711 }]);
    expect(value({ 'tok-1234': [{ n: 4711, m: 47110 }] })).toEqual({ '[secret]': [{ n: '[secret]', m: 47110 }] });
    const kept = { date: new Date(0), map: new Map() };
    expect(value(kept)).toBe(kept);
  });

  test('is hidden in errors, whatever they are, and leaves others as they are', () => {
    const clean = new Error('nothing to see');
    expect(redactor.error(clean)).toBe(clean);
    const circular: Record<string, unknown> = { auth: secret };
    circular.self = circular;
    class OwnError extends TypeError {
      readonly retryable = false;
    }
    const cause = new AggregateError([new Error(`one ${secret}`)], `many ${secret}`);
    const error = Object.assign(new OwnError(`no ${secret}`, { cause }), { circular, code: 'E', retryAfterMs: 5 });
    const shown = redactor.error(error);
    expect(shown).toBeInstanceOf(OwnError);
    expect(shown).toMatchObject({ message: 'no [secret]', code: 'E', retryable: false, retryAfterMs: 5 });
    expect(shown.stack).toContain('secrets.test.ts');
    const everything = inspect(shown, { depth: 20, showHidden: true }) + JSON.stringify(shown);
    expect(everything).not.toContain(secret);
    expect(error.message).toBe(`no ${secret}`);
    const frozen = Object.freeze(new Error(secret));
    expect(redactor.error(frozen).message).toBe('[secret]');
    const dom = new DOMException(`aborted ${secret}`, 'AbortError');
    expect(redactor.error(dom as Error)).toMatchObject({ name: 'AbortError', message: 'aborted [secret]' });
  });

  test('does not break on a text that is no Unicode', () => {
    const { text } = createRedactor(['t'], [{ t: 'half \ud800 pair' }]);
    expect(text('<half \ud800 pair>')).toBe('<[secret]>');
  });
});

describe('defineJob', () => {
  const payload = z.object({
    token: z.string().default('from-code'),
    smtp: z.strictObject({ password: z.string() }).default({ password: 'from-code' }),
    kind: z.discriminatedUnion('is', [
      z.object({ is: z.literal('a'), key: z.string() }),
      z.object({ is: z.literal('b') }),
    ]),
    list: z.array(z.object({ value: z.enum(['from-code']) })),
    loose: z.looseObject({}),
    record: z.record(z.string(), z.object({ v: z.string() })),
    any: z.unknown(),
    get self() {
      return payload.optional();
    },
  });
  const problemsOf = (...secret: string[]) =>
    defineJob({ name: 'j', payload: payload as z.ZodType, secret, run: () => null }).problems;

  test.each([
    'token',
    'smtp.password',
    'smtp',
    'kind.key',
    'list.*.value',
    'list.*',
    'loose.x.y',
    'record.*.v',
    'record.a.v',
    'any.x',
    'self.self.token',
  ])('takes the secret %s', (path) => {
    expect(problemsOf(path)).toEqual([]);
  });

  test.each([
    ['tokn', 'a field of the payload (did you mean "token"?)'],
    ['smtp.pasword', 'a field of the payload (did you mean "smtp.password"?)'],
    ['token.x', 'a field of the payload'],
    ['list.value', 'a field of the payload'],
    ['kind.nothing', 'a field of the payload'],
    ['', 'a path such as "token" or "smtp.password"'],
    ['smtp..password', 'a path such as "token" or "smtp.password"'],
  ])('refuses the secret "%s"', (path, expected) => {
    expect(problemsOf('token', path)).toMatchObject([{ where: 'j: secret[1]', expected }]);
  });

  test('tells in a job’s schema what is secret, and no default or example of it', () => {
    const secret = ['token', 'smtp.password', 'list.*.value'];
    const schema = payloadSchemaOf(defineJob({ name: 'j', payload: payload as z.ZodType, secret, run: () => null }));
    expect(JSON.stringify(schema)).not.toContain('from-code');
    expect(schema).toMatchObject({ properties: { token: { type: 'string', writeOnly: true } } });
  });

  test('refuses a schedule’s payload without its secrets', () => {
    const schedules = [{ id: 's', every: '1h', payload: { token: ['hunter2'], other: 'hunter2' } }] as never;
    const schema = z.strictObject({ token: z.string() });
    const { problems } = defineJob({ name: 'j', payload: schema, secret: ['token'], schedules, run: () => null });
    expect(problems.map(({ got }) => got)).toEqual(['[secret]', '[secret]']);
  });
});

test('of http-request are the values of its headers', () => {
  const payload = { url: 'https://example.com', headers: { authorization: 'Bearer hunter2', 'x-key': 'hunter3' } };
  const shown = { url: 'https://example.com', headers: { authorization: '[secret]', 'x-key': '[secret]' } };
  expect(redactPayload(httpRequest().secret, payload)).toEqual(shown);
});
