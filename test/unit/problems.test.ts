import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { nearest, problemsOf, show } from '../../src/problems.js';

function problems(schema: z.ZodType, input: unknown, options: Parameters<typeof problemsOf>[2] = {}) {
  const { error } = schema.safeParse(input);
  if (!error) throw new Error('the schema takes the input');
  return problemsOf(error, input, options);
}

function expectation(schema: z.ZodType, input: unknown) {
  return problems(schema, input).map(({ expected }) => expected);
}

describe('problemsOf', () => {
  const person = z.strictObject({ name: z.string().min(2), tags: z.array(z.int().max(9)) });

  test('tells every problem: where, what was expected, what came', () => {
    expect(problems(person, { name: 'x', tags: [1, 10, 1.5] })).toEqual([
      { where: 'name', expected: 'at least 2 characters', got: '"x"' },
      { where: 'tags[1]', expected: 'at most 9', got: '10' },
      { where: 'tags[2]', expected: 'a whole number', got: '1.5' },
    ]);
  });

  test('hangs the path from the place it was given', () => {
    const where = (at: string, input: unknown) => problems(person, input, { at }).map((problem) => problem.where);
    expect(where('payload', { name: 'x', tags: [] })).toEqual(['payload.name']);
    expect(where('my-job: ', { name: 'x', tags: [] })).toEqual(['my-job: name']);
    expect(where('payload', 42)).toEqual(['payload']);
    expect(problems(person, 42)[0]?.where).toBe('value');
  });

  test('tells each unknown key, with the nearest of those that are known at its place', () => {
    const schema = z.strictObject({ retry: z.strictObject({ attempts: z.int().optional() }) });
    const known = (path: readonly PropertyKey[]) => (path[0] === 'retry' ? ['attempts'] : ['retry']);
    expect(problems(schema, { retry: { atempts: 3 }, retri: 1, colour: 'red' }, { known })).toEqual([
      { where: 'retry.atempts', expected: 'no such option (did you mean "attempts"?)', got: '3' },
      { where: 'retri', expected: 'no such option (did you mean "retry"?)', got: '1' },
      { where: 'colour', expected: 'no such option', got: '"red"' },
    ]);
  });

  test('tells a hundred, and how many more there are', () => {
    const rest = (more: string) => ({ where: 'the rest', expected: 'no further problems', got: more });
    const items = problems(
      z.array(z.string()),
      Array.from({ length: 4_321 }, (_, n) => n),
    );
    expect(items).toHaveLength(101);
    expect(items.slice(-2)).toEqual([{ where: '[99]', expected: 'a string', got: '99' }, rest('and 4221 more')]);
    const keys = Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`key-${n}`, n]));
    expect(problems(z.strictObject({}), keys).slice(99)).toMatchObject([{ where: 'key-99' }, rest('and 200 more')]);
    expect(
      problems(
        z.array(z.string()),
        Array.from({ length: 100 }, () => 0),
      ),
    ).toHaveLength(100);
    expect(problems(z.strictObject({}), keys, { most: 7, at: 'payload' })[7]).toEqual({
      ...rest('and 293 more'),
      where: 'payload: the rest',
    });
  });

  test.each<[string, z.ZodType, unknown]>([
    ['a string', z.string(), undefined],
    ['an object', z.object({}), null],
    ['an array', z.array(z.string()), 'x'],
    ['"on"', z.literal('on'), 'off'],
    ['one of "eu", "us"', z.enum(['eu', 'us']), 'asia'],
    ['more than 0', z.number().positive(), 0],
    ['less than 1', z.number().lt(1), 1],
    ['at most 1 items', z.array(z.string()).max(1), ['a', 'b']],
    ['a multiple of 5', z.number().multipleOf(5), 3],
    ['a string or a number', z.union([z.string(), z.number()]), true],
    ['a value that the schema accepts', z.string().refine(() => false), 'x'],
  ])('says "%s"', (expected, schema, input) => {
    expect(expectation(schema, input)).toEqual([expected]);
  });

  test("says what the schema's author says, in place of what zod would", () => {
    expect(expectation(z.string().regex(/^[a-z]+$/, { error: 'small letters' }), 'X')).toEqual(['small letters']);
    expect(expectation(z.string().min(3, 'the name of a city'), 'X')).toEqual(['the name of a city']);
    expect(expectation(z.union([z.string(), z.number()], { error: 'a name or a number' }), true)).toEqual([
      'a name or a number',
    ]);
  });
});

describe('nearest', () => {
  const known = ['attempts', 'cron', 'timezone', 'at', 'id'];

  test.each([
    ['atempts', 'attempts'],
    ['crn', 'cron'],
    ['corn', 'cron'],
    ['timeZone', 'timezone'],
    ['time-zones', 'timezone'],
  ])('takes %s for %s', (name, meant) => {
    expect(nearest(name, known)).toBe(meant);
  });

  test.each(['colour', 'x', 'zz', ''])('suggests nothing for %j', (name) => {
    expect(nearest(name, known)).toBeNull();
  });

  test('suggests the nearest of several', () => {
    expect(nearest('max', ['min', 'mix', 'maxi', 'max-delay'])).toMatch(/^(mix|maxi)$/);
    expect(nearest('send-emial', ['send-sms', 'send-email'])).toBe('send-email');
  });

  test('suggests nothing that is further than told', () => {
    expect(nearest('RONDO_APS', ['RONDO_APP'], 1)).toBe('RONDO_APP');
    expect(nearest('RONDO_AXS', ['RONDO_APP'], 1)).toBeNull();
  });

  test('suggests nothing where nothing is known', () => {
    expect(nearest('cron', [])).toBeNull();
  });
});

describe('show', () => {
  const circular: Record<string, unknown> = {};
  circular.self = circular;

  test.each([
    [undefined, 'nothing'],
    [null, 'null'],
    [42, '42'],
    [Number.NaN, 'NaN'],
    [10n, '10n'],
    ['text', '"text"'],
    [{ a: [1] }, '{"a":[1]}'],
    [() => 1, 'a function'],
    [Symbol('x'), 'Symbol(x)'],
    [circular, '[object Object]'],
    [new Date(Number.NaN), 'null'],
  ])('shows %s as %s', (value, text) => {
    expect(show(value)).toBe(text);
  });

  test('shortens to 80 characters', () => {
    expect(show('x'.repeat(100))).toBe(`"${'x'.repeat(78)}…`);
    expect(show('x'.repeat(78))).toBe(`"${'x'.repeat(78)}"`);
  });
});
