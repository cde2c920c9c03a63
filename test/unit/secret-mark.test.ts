import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { payloadSchemaOf } from '../../src/jobs/describe.js';
import { readPayload } from '../../src/jobs/payload.js';
import { secret } from '../../src/jobs/secret-mark.js';
import { redactPayload } from '../../src/jobs/secrets.js';

const jobOf = (payload: z.ZodType, more: object = {}) => defineJob({ name: 'mail', payload, run: () => null, ...more });
const token = secret(z.string());

describe('a part of a payload that secret() marks', () => {
  const node = z.object({
    token,
    get children() {
      return z.array(node).optional();
    },
  });

  test.each<[string, z.ZodType, string[]]>([
    ['a field', z.object({ token, to: z.string() }), ['token']],
    ['a field of a field', z.object({ smtp: z.object({ token }) }), ['smtp.token']],
    ['an object', z.object({ smtp: secret(z.object({ host: z.string() })) }), ['smtp']],
    ['the items of a list', z.object({ keys: z.array(z.object({ token })) }), ['keys.*.token']],
    ['an item of a tuple', z.tuple([z.string(), token], token), ['1', '*']],
    ['the values of a record', z.object({ headers: z.record(z.string(), token) }), ['headers.*']],
    ['the keys of a record', z.object({ users: z.record(token, z.string()) }), ['users']],
    ['other fields than those', z.object({ to: z.string() }).catchall(token), ['*']],
    ['one of several', z.union([z.object({ token }), z.object({ key: token })]), ['token', 'key']],
    ['one of two that must fit', z.object({ token }).and(z.object({ to: z.string() })), ['token']],
    ['what is transformed before', z.object({ token: z.preprocess(String, token) }), ['token']],
    ['what is transformed afterwards', z.object({ token: token.transform(Number) }), ['token']],
    ['what is lazy', z.object({ smtp: z.lazy(() => z.object({ token })) }), ['smtp.token']],
    ['what refers to itself', node, ['token', 'children.*']],
    ['a field that no path names', z.object({ auth: z.object({ 'a.b': token }) }), ['auth']],
    ['all of it', secret(z.object({ to: z.string() })), ['*']],
    ['all of a text', token, ['*']],
    ['nothing', z.object({ to: z.string() }), []],
  ])('is secret: %s', (_what, payload, paths) => {
    expect(jobOf(payload)).toMatchObject({ secret: paths, problems: [] });
  });

  test.each<[string, (schema: typeof token) => z.ZodType]>([
    ['bounds', (schema) => schema.min(3).max(99)],
    ['a format', (schema) => schema.regex(/./).trim()],
    ['a rule', (schema) => schema.refine(() => true)],
    ['a default', (schema) => schema.default('abc')],
    ['null', (schema) => schema.nullable()],
    ['nothing', (schema) => schema.optional()],
    ['words', (schema) => schema.describe('Of the mail server').meta({ examples: ['abc'] })],
    ['a brand', (schema) => schema.brand<'token'>()],
    ['another reading', (schema) => schema.catch('').readonly()],
    ['a second mark', (schema) => secret(schema)],
  ])('stays so with %s', (_what, further) => {
    expect(jobOf(z.object({ token: further(token) })).secret).toEqual(['token']);
  });

  test('stays so in what is made of the object around it', () => {
    const auth = z.object({ token, to: z.string() });
    for (const payload of [auth.partial(), auth.pick({ token: true }), auth.extend({ a: z.string() }), auth.strict()]) {
      expect(jobOf(payload).secret).toEqual(['token']);
    }
    expect(jobOf(auth.omit({ token: true })).secret).toEqual([]);
    expect(jobOf(secret(auth).extend({ a: z.string() })).secret).toEqual(['*']);
  });

  test('is secret beside those that the job names, each once, and leaves the schema that was given as it was', () => {
    const plain = z.string();
    const payload = z.object({ token: secret(plain), key: plain });
    expect(jobOf(payload, { secret: ['key', 'token'] }).secret).toEqual(['key', 'token']);
    expect(jobOf(payload).secret).toEqual(['token']);
    expect(jobOf(payload, { secret: ['kay'] }).problems).toMatchObject([{ where: 'mail: secret[0]' }]);
  });

  test('is read as before, and hidden in payloads, problems and the JSON Schema', () => {
    const described = secret(
      z
        .string()
        .min(8)
        .meta({ description: 'A token', examples: ['abc'] }),
    );
    const job = jobOf(z.object({ auth: z.object({ token: described }), to: z.string() }));
    const payload = { auth: { token: 'abcdefgh' }, to: 'ada' };

    expect(readPayload(job, payload)).toEqual({ refused: null, value: payload });
    expect(redactPayload(job.secret, payload)).toEqual({ auth: { token: '[secret]' }, to: 'ada' });
    const { refused } = readPayload(job, { auth: { token: 'short' }, to: 'ada' });
    expect(refused?.problems).toMatchObject([{ where: 'payload.auth.token', got: '[secret]' }]);
    expect(payloadSchemaOf(job)).toMatchObject({
      properties: { auth: { properties: { token: { description: 'A token', writeOnly: true, minLength: 8 } } } },
    });
    expect(JSON.stringify(payloadSchemaOf(job))).not.toContain('abc');
  });

  test('is hidden in what is wrong with a schedule of the job', () => {
    const schedules = [{ id: 'daily', cron: '@daily', payload: { token: 12_345_678 } }];
    const { problems } = jobOf(z.object({ token }), { schedules });
    expect(problems).toMatchObject([{ where: 'mail: schedules[0].payload.token', got: '[secret]' }]);
    expect(JSON.stringify(problems)).not.toContain('12345678');
  });

  test('that is not there yet is a problem of the job, and no part at all a mistake that is told at once', () => {
    const early = jobOf(z.object({ auth: z.lazy(() => later) }));
    const later = z.object({ token });
    expect(early.problems).toMatchObject([
      { where: 'mail: payload', expected: expect.stringContaining('parts are there when the job is defined') },
    ]);
    expect(() => secret('token' as never)).toThrow('secret(): expected a zod schema; got "token"');
  });
});
