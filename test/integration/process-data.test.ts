import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { numberOf } from '../../src/jobs/catalog/process-data/conditions.js';
import { payloadSchema } from '../../src/jobs/catalog/process-data/payload.js';
import { processData } from '../../src/jobs/catalog/process-data.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { runJob } from '../../src/testing/run-job.js';
import { dataFolder } from '../support/data-folder.js';
import { eventually } from '../support/harness.js';
import { startTarget } from '../support/http.js';
import { prompt } from '../support/prompt.js';

const orders = 'id,country,total\n1,fr,10.5\n2,de,20\n3,fr,\n4,,0.1\n';

describe('transform', () => {
  it('filters rows, picks fields, and renames them', async () => {
    const { put, run, text } = dataFolder();
    put('in/orders.csv', orders);
    const { result, progress } = await run({
      operation: 'transform',
      from: { file: 'in/orders.csv' },
      to: { file: 'out/today/orders.csv' },
      where: [{ field: 'total', is: 'gt', value: 9 }],
      pick: ['total', 'id'],
      rename: { total: 'amount' },
    });
    expect(text('out/today/orders.csv')).toBe('amount,id\n10.5,1\n20,2\n');
    const counts = { rowsRead: 4, rowsWritten: 2, rowsRejected: 0 };
    expect(result).toEqual({ ...counts, file: 'out/today/orders.csv', bytesWritten: 22 });
    expect(progress.at(-1)).toBe(100);
  });

  it.each([
    ['csv', 'ndjson'],
    ['csv.gz', 'ndjson.gz'],
    ['ndjson', 'csv'],
    ['jsonl.gz', 'csv.gz'],
  ])('makes %s into %s, packed or not', async (from, to) => {
    const texts = {
      csv: 'id,name\n1,"a, ""b"""\n2,\n',
      ndjson: '{"id":"1","name":"a, \\"b\\""}\n{"id":"2","name":""}\n',
    };
    const { put, run, text } = dataFolder();
    const kind = (name: string) => (name.startsWith('csv') ? 'csv' : 'ndjson');
    const content = texts[kind(from)];
    put(`in.${from}`, from.endsWith('.gz') ? gzipSync(content) : content);
    await run({ operation: 'transform', from: { file: `in.${from}` }, to: { file: `out.${to}` } });
    expect(text(`out.${to}`)).toBe(texts[kind(to)]);
  });

  it('reads CSV as it is found: BOM, CRLF, empty lines, quotes with ends of lines, other delimiters, no end of line', async () => {
    const { put, run, text } = dataFolder();
    put('in.csv', '\ufeffid;note\r\n1;"two\r\nlines"\r\n\r\n2;5" nails\n3;"a ""b"""');
    await run({ operation: 'transform', from: { file: 'in.csv', delimiter: ';' }, to: { file: 'out.ndjson' } });
    const rows = text('out.ndjson')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const notes = ['two\r\nlines', '5" nails', 'a "b"'];
    expect(rows).toEqual(notes.map((note, index) => ({ id: String(index + 1), note })));
  });

  it('writes numbers, booleans, nothing, lists and objects of NDJSON as text of a CSV', async () => {
    const { put, run, text } = dataFolder();
    put('in.ndjson', '{"a":1.5,"b":true,"c":null,"d":[1,"x"],"e":{"f":1}}\n{"a":2,"e":"=1+1"}\n');
    const to = { file: 'out.csv', escapeFormulas: true };
    await run({ operation: 'transform', from: { file: 'in.ndjson' }, to });
    expect(text('out.csv')).toBe(`a,b,c,d,e\n1.5,true,,"[1,""x""]","{""f"":1}"\n2,,,,'=1+1\n`);
  });

  it('keeps the header of a CSV without rows, and of one of which no row passes', async () => {
    const { put, run, text } = dataFolder();
    put('none.csv', 'a,b\n');
    put('some.csv', 'a,b\n1,2\n');
    const where = [{ field: 'a', is: 'eq', value: 'x' }];
    for (const name of ['none.csv', 'some.csv']) {
      await run({ operation: 'transform', from: { file: name }, to: { file: `out-${name}` }, where });
      expect(text(`out-${name}`)).toBe('a,b\n');
    }
    put('empty.csv', '');
    await run({ operation: 'transform', from: { file: 'empty.csv' }, to: { file: 'out-empty.csv' } });
    expect(text('out-empty.csv')).toBe('');
  });

  it('reads back all that it writes: any text in any fields, from CSV to NDJSON and again', async () => {
    const { put, run, text } = dataFolder();
    // A mark of byte order at the very start is none of the text's.
    const word = fc.string({ unit: 'grapheme', maxLength: 12 }).filter((value) => !value.includes('\ufeff'));
    const name = word.filter((value) => value.trim() !== '' && value !== '__proto__');
    const table = fc
      .uniqueArray(name, { minLength: 1, maxLength: 4 })
      .chain((names) =>
        fc.tuple(fc.constant(names), fc.array(fc.tuple(...names.map(() => word)), { minLength: 1, maxLength: 5 })),
      );
    await fc.assert(
      fc.asyncProperty(table, async ([names, records]) => {
        const lines = records.map(
          (record) => `${JSON.stringify(Object.fromEntries(names.map((key, at) => [key, record[at]])))}\n`,
        );
        put('a.ndjson', lines.join(''));
        await run({ operation: 'transform', from: { file: 'a.ndjson' }, to: { file: 'b.csv' }, pick: names });
        await run({ operation: 'transform', from: { file: 'b.csv' }, to: { file: 'c.ndjson.gz' } });
        const back = text('c.ndjson.gz')
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line));
        expect(back).toEqual(lines.map((line) => JSON.parse(line)));
      }),
      { numRuns: 60 },
    );
  });
});

describe('conditions', () => {
  const rows = '{"v":5}\n{"v":"05"}\n{"v":"x"}\n{"v":""}\n{"v":null}\n{}\n{"v":true}\n{"v":[5]}\n';
  it.each([
    [{ is: 'eq', value: 5 }, ['5', '"05"']],
    [{ is: 'eq', value: '05' }, ['"05"']],
    [{ is: 'eq', value: true }, ['true']],
    [{ is: 'ne', value: 5 }, ['"x"', '""', 'null', undefined, 'true', '[5]']],
    [{ is: 'lt', value: 6 }, ['5', '"05"']],
    [{ is: 'gte', value: 5 }, ['5', '"05"']],
    [{ is: 'gt', value: '1' }, ['5', '"x"', 'true']],
    [{ is: 'lte', value: '05' }, ['"05"']],
    [{ is: 'in', value: [5, 'x'] }, ['5', '"05"', '"x"']],
    [{ is: 'exists' }, ['5', '"05"', '"x"', 'true', '[5]']],
    [{ is: 'exists', value: false }, ['""', 'null', undefined]],
  ])('%j', async (condition, expected) => {
    const { put, run, text } = dataFolder();
    put('in.ndjson', rows);
    const where = [{ field: 'v', ...condition }];
    await run({ operation: 'transform', from: { file: 'in.ndjson' }, to: { file: 'out.ndjson' }, where });
    const kept = text('out.ndjson')
      .trim()
      .split('\n')
      .map((line) => JSON.stringify(JSON.parse(line).v));
    expect(kept).toEqual(expected);
  });

  it.each([['5'], ['-0.5'], ['+5.'], ['.5'], [' 1e3 '], ['1E-3']])('take %j for a number', (text) => {
    expect(numberOf(text)).toBe(Number(text));
  });

  it.each(['', '.', '5x', '0x5', '1e', '1e400', 'Infinity', '1 2'])('take %j for none', (text) => {
    expect(numberOf(text)).toBeNull();
  });

  it('judge a field of many digits at once, whatever comes after them', prompt, async () => {
    const digits = '1'.repeat(50_000);
    const startedAt = performance.now();
    expect([digits, `${digits}x`, `0.${digits}x`, `${digits}.5e`].map(numberOf)).toEqual([null, null, null, null]);
    expect(performance.now() - startedAt).toBeLessThan(200);
  });
});

describe('aggregate', () => {
  const compute = {
    orders: { function: 'count' },
    priced: { function: 'count', field: 'total' },
    sum: { function: 'sum', field: 'total' },
    mean: { function: 'average', field: 'total' },
    least: { function: 'min', field: 'total' },
    last: { function: 'max', field: 'day' },
  };

  it('counts, sums, and finds averages, least and greatest of each group, in the order in which they come', async () => {
    const { put, run, text } = dataFolder();
    put(
      'in.csv',
      'country,total,day\nfr,0.5,2026-01-02\nde,9,2026-01-01\nfr,1e0,2026-01-10\nfr,,2026-01-03\n,,\nde,10,2025-12-31\n',
    );
    const { result } = await run({
      operation: 'aggregate',
      from: { file: 'in.csv' },
      to: { file: 'out.ndjson' },
      groupBy: ['country'],
      compute,
    });
    expect(
      text('out.ndjson')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([
      { country: 'fr', orders: 3, priced: 2, sum: 1.5, mean: 0.75, least: '0.5', last: '2026-01-10' },
      { country: 'de', orders: 2, priced: 2, sum: 19, mean: 9.5, least: '9', last: '2026-01-01' },
      { country: null, orders: 1, priced: 0, sum: null, mean: null, least: null, last: null },
    ]);
    expect(result).toMatchObject({ rowsRead: 6, rowsWritten: 3 });
  });

  it('adds up without the errors of rounding: ten times 0.1 is 1', async () => {
    const { put, run, text } = dataFolder();
    put('in.csv', `v\n${'0.1\n'.repeat(10)}`);
    const compute = { sum: { function: 'sum', field: 'v' } };
    await run({ operation: 'aggregate', from: { file: 'in.csv' }, to: { file: 'out.csv' }, compute });
    expect(text('out.csv')).toBe('sum\n1\n');
  });

  it('comes to one row for all where it groups by nothing, also of no rows', async () => {
    const { put, run, text } = dataFolder();
    put('in.csv', 'total\n');
    await run({
      operation: 'aggregate',
      from: { file: 'in.csv' },
      to: { file: 'out.csv' },
      compute: { rows: { function: 'count' }, sum: { function: 'sum', field: 'total' } },
    });
    expect(text('out.csv')).toBe('rows,sum\n0,\n');
  });

  it('sets aside a row of which a value cannot be added up, and counts nothing of it', async () => {
    const { put, run, text } = dataFolder();
    put('in.csv', 'a,b\n1,2\n1,x\nx,1\n');
    const { result } = await run({
      operation: 'aggregate',
      from: { file: 'in.csv' },
      to: { file: 'out.csv' },
      rejects: { file: 'bad.ndjson' },
      compute: { a: { function: 'sum', field: 'a' }, b: { function: 'sum', field: 'b' }, n: { function: 'count' } },
    });
    expect(text('out.csv')).toBe('a,b,n\n1,2,1\n');
    expect(result).toMatchObject({ rowsRejected: 2 });
  });

  it('refuses more groups, and more text of them, than memory is for', async () => {
    const { put, run, files } = dataFolder();
    const byId = {
      operation: 'aggregate',
      to: { file: 'out.csv' },
      groupBy: ['id'],
      compute: { n: { function: 'count' } },
    };
    put('many.csv', `id\n${Array.from({ length: 100_001 }, (_, id) => id).join('\n')}\n`);
    const refused = run({ ...byId, from: { file: 'many.csv' } });
    await expect(refused).rejects.toMatchObject({
      retryable: false,
      message: expect.stringContaining('100000 groups'),
    });
    const long = 'x'.repeat(900_000);
    put('long.csv', `id\n${Array.from({ length: 20 }, (_, id) => `${id}${long}`).join('\n')}\n`);
    await expect(run({ ...byId, from: { file: 'long.csv' } })).rejects.toThrow('16000000 characters');
    expect(files()).toEqual(['long.csv', 'many.csv']);
  });
});

describe('bad rows', () => {
  const csv = Buffer.concat([Buffer.from('a,b\n1,2\n3\n4,5,6\n7,'), Buffer.from([0xff]), Buffer.from('\n8,ä\n')]);
  const copy = { operation: 'transform', from: { file: 'in.csv' }, to: { file: 'out.csv' } };

  it('are set aside with their number, the reason and what came, and counted', async () => {
    const { put, run, text } = dataFolder();
    put('in.csv', csv);
    const { result } = await run({ ...copy, rejects: { file: 'bad/rows.ndjson', limit: 3 } });
    expect(text('out.csv')).toBe('a,b\n1,2\n8,ä\n');
    expect(
      text('bad/rows.ndjson')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([
      { row: 2, reason: 'it has 1 fields where the header has 2', came: ['3'] },
      { row: 3, reason: 'it has 3 fields where the header has 2', came: ['4', '5', '6'] },
      { row: 4, reason: 'it is not UTF-8', came: ['7', '\ufffd'] },
    ]);
    expect(result).toMatchObject({ rowsRead: 5, rowsWritten: 2, rowsRejected: 3 });
  });

  it('fail the run for good beyond the limit, and where nobody said where to put them; nothing is written', async () => {
    const { put, run, files } = dataFolder();
    put('in.csv', csv);
    const tooMany = { ...copy, rejects: { file: 'bad.ndjson', limit: 2 } };
    await expect(run(tooMany)).rejects.toMatchObject({
      retryable: false,
      message: 'row 4 of the source is bad, and 2 bad rows are allowed: it is not UTF-8',
    });
    await expect(run(copy)).rejects.toThrow('row 2 of the source is bad, and rejects says nothing of bad rows');
    expect(files()).toEqual(['in.csv']);
  });

  it('of NDJSON are lines that are no objects, and numbers that would change', async () => {
    const { put, run, text } = dataFolder();
    const bad = ['{"a":', '[1]', 'null', '5', '{"__proto__":{"a":1}}', '{"a":12345678901234567890}', '{"a":1e999}'];
    put('in.ndjson', `\ufeff{"a":"1"}\n${bad.join('\n')}\n\n{"a":"12345678901234567890"}`);
    const rejects = { file: 'bad.ndjson' };
    await run({ operation: 'transform', from: { file: 'in.ndjson' }, to: { file: 'out.ndjson' }, rejects });
    expect(text('out.ndjson')).toBe('{"a":"1"}\n{"a":"12345678901234567890"}\n');
    expect(text('bad.ndjson').trim().split('\n')).toHaveLength(bad.length);
  });

  it.each([
    ['1e+400', '1e-400', '9007199254740993', '1152921504606846976', '1234567890123456.78', '8589934593.1234567890'],
    ['{"b":[1e+400]}', '0.1, "c": 12345678901234567', '[12345678901.3333333333333333]'],
  ])('of NDJSON are numbers of which a digit would change: %s', async (...numbers) => {
    const { put, run, text } = dataFolder();
    put('in.ndjson', numbers.map((number) => `{"a": ${number}}\n`).join(''));
    const rejects = { file: 'bad.ndjson' };
    await run({ operation: 'transform', from: { file: 'in.ndjson' }, to: { file: 'out.ndjson' }, rejects });
    expect(text('out.ndjson')).toBe('');
    expect(text('bad.ndjson').trim().split('\n')).toHaveLength(numbers.length);
  });

  it('of NDJSON are not numbers that are written in another way, nor digits in text', async () => {
    const { put, run, text } = dataFolder();
    const kept = {
      ...{ '1e+20': '100000000000000000000', '-1.50E3': '-1500', '0.00000000000000000012': '1.2e-19' },
      ...{ '1.00000000000000000000': '1', '0e999': '0', '9007199254740991': '9007199254740991' },
      ...{ '12345678901234.56': '12345678901234.56', '0.10000000000000001': '0.1', '1.7976931348623157e308': null },
      ...{ '"\\" : 1e+400, 9007199254740993"': null, '["a\\\\", "9007199254740993.1e5"]': null },
    };
    put(
      'in.ndjson',
      Object.keys(kept)
        .map((value) => `{"a": ${value}}\n`)
        .join(''),
    );
    await run({ operation: 'transform', from: { file: 'in.ndjson' }, to: { file: 'out.ndjson' } });
    const expected = Object.entries(kept).map(([came, value]) => `{"a":${value ?? JSON.stringify(JSON.parse(came))}}`);
    expect(text('out.ndjson').trim().split('\n')).toEqual(expected);
  });

  it('of NDJSON are lists in lists without an end, and objects', async () => {
    const { put, run, text } = dataFolder();
    const deep = (levels: number) => `${'['.repeat(levels)}1${']'.repeat(levels)}`;
    const lines = [
      `{"a":${deep(990)}}`,
      `{"a":${deep(10_000)}}`,
      deep(200_000),
      `${'{"a":'.repeat(9_000)}1${'}'.repeat(9_000)}`,
    ];
    put('in.ndjson', lines.join('\n'));
    const rejects = { file: 'bad.ndjson' };
    await run({ operation: 'transform', from: { file: 'in.ndjson' }, to: { file: 'out.csv' }, rejects });
    expect(text('out.csv')).toBe(`a\n${deep(990)}\n`);
    const bad = text('bad.ndjson').trim().split('\n');
    expect(bad.map((line) => JSON.parse(line).reason)).toEqual(
      Array(3).fill(expect.stringContaining('more than 1000')),
    );
  });

  it('leave an empty file where there are none, so that those of an earlier run are not taken for theirs', async () => {
    const { put, run, text } = dataFolder();
    put('in.csv', 'a\n1\n');
    put('bad.ndjson', 'of yesterday\n');
    await run({ ...copy, rejects: { file: 'bad.ndjson' } });
    expect(text('bad.ndjson')).toBe('');
  });
});

describe('a source', () => {
  const copy = (file: string) => ({ operation: 'transform', from: { file }, to: { file: 'out.ndjson' } });

  it.each([
    ['a quote that nobody closes', 'in.csv', 'a,b\n1,"2\n3,4\n', 'Quote Not Closed'],
    ['a header that names a column twice', 'in.csv', 'a,a\n1,2\n', 'names "a" twice'],
    ['a header without a name', 'in.csv', 'a,\n1,2\n', 'no name that can be used for column 2'],
    ['a row without an end', 'in.csv', `a\n${'x'.repeat(1_200_000)}\n`, 'more than 1048576 bytes'],
    ['a row of nothing but commas', 'in.csv', `a\n${','.repeat(1_200_000)}\n`, 'more than 1048576 bytes'],
    ['a line without an end', 'in.ndjson', `{"a":"${'x'.repeat(1_200_000)}"}`, 'line 1 of the source has more than'],
    ['damaged gzip', 'in.csv.gz', gzipSync('a\n1\n').subarray(0, -4), 'damaged gzip'],
  ])('is refused for good with %s', async (_, file, content, reason) => {
    const { put, run, files } = dataFolder();
    put(file, content);
    await expect(run(copy(file))).rejects.toMatchObject({ retryable: false, message: expect.stringContaining(reason) });
    expect(files()).toEqual([file]);
  });

  it('is refused beyond its bound, also where it is small until it is unpacked', async () => {
    const { put, run } = dataFolder({ maxBytes: 100_000 });
    put('bomb.csv.gz', gzipSync(`a\n${'1\n'.repeat(100_000)}`));
    await expect(run(copy('bomb.csv.gz'))).rejects.toThrow('more than 100000 bytes (DATA_MAX_MB)');
  });

  it('is refused where its header lacks a field that is asked for, with the nearest', async () => {
    const { put, run } = dataFolder();
    put('in.csv', orders);
    const wrong = { ...copy('in.csv'), pick: ['id', 'totl'] };
    await expect(run(wrong)).rejects.toThrow('the source has no column "totl" (did you mean "total"?)');
  });

  it('comes from a URL, packed or not; headers go along, and stay with their origin', async () => {
    const target = await startTarget(({ url }, response) => {
      if (url === '/moved') response.writeHead(302, { location: '/data' }).end();
      else response.end(gzipSync('id\n1\n'));
    });
    const { run, text } = dataFolder({ allow: ['127.0.0.1'] });
    const from = { url: `${target.url}/moved`, format: 'csv', headers: { 'x-key': 'abc' } };
    await run({ operation: 'transform', from, to: { file: 'out.ndjson' } });
    expect(text('out.ndjson')).toBe('{"id":"1"}\n');
    expect(target.received).toMatchObject([{ headers: { 'x-key': 'abc' } }, { headers: { 'x-key': 'abc' } }]);
  });

  it('comes from public addresses alone', async () => {
    const { run, files } = dataFolder();
    const from = { url: 'http://127.0.0.1:1/in.csv' };
    const refused = run({ operation: 'transform', from, to: { file: 'out.csv' } });
    await expect(refused).rejects.toThrow('127.0.0.1 is not a public address');
    expect(files()).toEqual([]);
  });

  it('that breaks off, or is not there, leaves no file', async () => {
    const target = await startTarget(({ url }, response) => {
      if (url === '/404.csv') return void response.writeHead(404).end();
      response.writeHead(200, { 'content-length': 1_000 }).write('a\n1\n');
      setImmediate(() => response.destroy());
    });
    const { run, files } = dataFolder({ allow: ['127.0.0.1'] });
    const copyOf = (path: string) =>
      run({ operation: 'transform', from: { url: target.url + path }, to: { file: 'o.csv' } });
    await expect(copyOf('/404.csv')).rejects.toMatchObject({ retryable: false, message: 'the server answered 404' });
    const broken = await copyOf('/broken.csv').catch((error) => error);
    expect(broken).toBeInstanceOf(Error);
    expect(broken).not.toHaveProperty('retryable', false);
    expect(files()).toEqual([]);
  });
});

describe('a run that is done', () => {
  it('is not begun anew where nobody could note its progress', async () => {
    const { put, text, job } = dataFolder();
    put('in.csv', 'a\n1\n');
    const deaf = defineJob({
      name: 'deaf',
      run: (context) => {
        const payload = { operation: 'transform', from: { file: 'in.csv' }, to: { file: 'out.csv' } };
        const progress = () => Promise.reject(new Error('Redis is away'));
        return job.run({ ...context, payload: payloadSchema.parse(payload), progress });
      },
    });
    expect((await runJob(deaf, {})).result).toMatchObject({ rowsWritten: 1 });
    expect(text('out.csv')).toBe('a\n1\n');
  });
});

describe('a run that is stopped midway', () => {
  it('leaves nothing of its file, and what was there before; it ends at once', async () => {
    const target = await startTarget((_request, response) => {
      response.write(`a\n${'1\n'.repeat(50_000)}`); // and no end
    });
    const { put, run, text, files } = dataFolder({ allow: ['127.0.0.1'] });
    put('out.csv', 'of yesterday\n');
    const stop = new AbortController();
    const from = { url: `${target.url}/in.csv` };
    const rejects = { file: 'bad.ndjson' };
    const running = run({ operation: 'transform', from, to: { file: 'out.csv' }, rejects }, { signal: stop.signal });
    await eventually(() => files().length === 3);
    stop.abort(new Error('cancelled'));
    await expect(running).rejects.toThrow('cancelled');
    await eventually(() => files().length === 1);
    expect(text('out.csv')).toBe('of yesterday\n');
  });

  it('is begun anew by the next attempt, which takes away what a dead one left, and nothing else', async () => {
    const target = await startTarget((_request, response) => void response.write('a\n1\n2\n3\n'));
    const { put, run, files } = dataFolder({ allow: ['127.0.0.1'] });
    const hung = new AbortController();
    const to = { file: 'out.csv' };
    const from = { url: `${target.url}/in.csv` };
    const first = run({ operation: 'transform', from, to }, { id: 'the-run', signal: hung.signal }).catch(() => {});
    await eventually(() => files().length === 1);
    put('in.csv', 'a\n2\n');
    put('.out.csv.of-another.part', '');
    await run({ operation: 'transform', from: { file: 'in.csv' }, to }, { id: 'the-run', attempt: 2 });
    expect(files()).toEqual(['.out.csv.of-another.part', 'in.csv', 'out.csv']);
    hung.abort();
    await first;
  });
});

describe('nothing outside of the folder', () => {
  const secret = 'a\nsecret\n';

  it.each([
    '../secret.csv',
    'in/../../secret.csv',
    '/etc/secret.csv',
    './in.csv',
    'in//x.csv',
    'in/.hidden.csv',
    'in\\x.csv',
    'x\0.csv',
    '',
  ])('is named: %j is refused as a source, a target and for rejects', async (file) => {
    const { run } = dataFolder();
    const good = { file: 'good.csv' };
    for (const [field, payload] of Object.entries({
      'from.file': { from: { file }, to: good },
      'to.file': { from: good, to: { file } },
      'rejects.file': { from: good, to: good, rejects: { file: file.replace('csv', 'ndjson') } },
    })) {
      const refused = await run({ operation: 'transform', ...payload }).catch((error) => error);
      expect(refused).toMatchObject({ code: 'payload-invalid' });
      expect(refused.problems[0].where).toBe(`payload.${field}`);
    }
  });

  it('is read through a link: as the file itself, and as a folder on the way', async () => {
    const { root, run, files } = dataFolder();
    writeFileSync(join(root, '../secret.csv'), secret);
    symlinkSync('../secret.csv', join(root, 'link.csv'));
    symlinkSync('..', join(root, 'up'));
    for (const file of ['link.csv', 'up/secret.csv']) {
      const refused = run({ operation: 'transform', from: { file }, to: { file: 'out.csv' } });
      await expect(refused).rejects.toMatchObject({
        retryable: false,
        message: expect.stringMatching(/link|leads out/),
      });
    }
    expect(files()).toEqual(['link.csv', 'up']);
  });

  it('is written through a link', async () => {
    const { root, put, run } = dataFolder();
    const outside = join(root, '../outside');
    mkdirSync(outside);
    symlinkSync('../outside', join(root, 'out'));
    symlinkSync('../outside/new.csv', join(root, 'new.csv'));
    put('in.csv', secret);
    for (const file of ['out/new.csv', 'out/deeper/new.csv', 'new.csv']) {
      const refused = run({ operation: 'transform', from: { file: 'in.csv' }, to: { file } });
      await expect(refused).rejects.toMatchObject({ retryable: false });
    }
    expect(execFileSync('ls', ['-A', outside]).toString()).toBe('');
  });

  it('is written when a folder is changed for a link while the run goes on', async () => {
    const target = await startTarget((_request, response) => {
      response.write('a\n1\n');
      renameSync(join(root, 'out'), join(root, 'was'));
      symlinkSync('../outside', join(root, 'out'));
      response.end();
    });
    const { root, run } = dataFolder({ allow: ['127.0.0.1'] });
    mkdirSync(join(root, '../outside'));
    mkdirSync(join(root, 'out'));
    const from = { url: `${target.url}/in.csv` };
    const swapped = run({ operation: 'transform', from, to: { file: 'out/new.csv' } });
    await expect(swapped).rejects.toThrow('leads out of DATA_FOLDER');
    expect(execFileSync('ls', ['-A', join(root, '../outside')]).toString()).toBe('');
  });

  it('and in it regular files alone: no folder, no pipe, which would be waited for', async () => {
    const { root, put, run } = dataFolder();
    execFileSync('mkfifo', [join(root, 'pipe.csv')]);
    mkdirSync(join(root, 'folder.csv'));
    put('in.csv', secret);
    for (const file of ['pipe.csv', 'folder.csv']) {
      await expect(run({ operation: 'transform', from: { file }, to: { file: 'out.csv' } })).rejects.toThrow(
        'no regular file',
      );
      await expect(run({ operation: 'transform', from: { file: 'in.csv' }, to: { file } })).rejects.toThrow(
        'no regular file',
      );
    }
  });

  it('may be a link within it, and a file that is not there is tried again', async () => {
    const { root, put, run, text } = dataFolder();
    put('2026/in.csv', secret);
    symlinkSync('2026', join(root, 'latest'));
    linkSync(join(root, '2026/in.csv'), join(root, '2026/same.csv'));
    await run({ operation: 'transform', from: { file: 'latest/same.csv' }, to: { file: 'latest/out.csv' } });
    expect(text('2026/out.csv')).toBe(secret);
    const missing = await run({ operation: 'transform', from: { file: 'no.csv' }, to: { file: 'o.csv' } }).catch(
      (error) => error,
    );
    expect(missing).toMatchObject({ message: 'no.csv does not exist' });
    expect(missing).not.toHaveProperty('retryable');
  });
});

describe('process-data', () => {
  it('is off without a folder, and says so; with one it is on', () => {
    expect(processData()).toMatchObject({ enabled: false, off: 'DATA_FOLDER is not set', problems: [] });
    expect(processData({ folder: '/data' })).toMatchObject({ enabled: true, off: null, problems: [] });
  });

  const file = { file: 'a.csv' };
  const to = { file: 'b.csv' };
  const lines = { file: 'a.ndjson' };
  const count = { n: { function: 'count' } };
  it.each([
    [{ operation: 'delete', from: file }, 'operation'],
    [{ operation: 'transform', from: {}, to }, 'from'],
    [{ operation: 'transform', from: { ...file, url: 'https://example.com/a.csv' }, to }, 'from'],
    [{ operation: 'transform', from: { url: 'https://example.com/a' }, to }, 'from.format'],
    [{ operation: 'transform', from: { url: 'ftp://example.com/a.csv' }, to }, 'from.url'],
    [{ operation: 'transform', from: { file: 'a.txt' }, to }, 'from.file'],
    [{ operation: 'transform', from: file, to: { file: 'queries/a.sql' } }, 'to.file'],
    [{ operation: 'transform', from: file, to: file }, 'to.file'],
    [{ operation: 'transform', from: lines, to, rejects: lines }, 'rejects.file'],
    [{ operation: 'transform', from: file, to: lines, rejects: lines }, 'rejects.file'],
    [{ operation: 'transform', from: file, to, pick: ['a', 'b'], rename: { a: 'b' } }, 'rename'],
    [{ operation: 'transform', from: file, to, where: [{ field: 'a', is: 'like', value: 'x' }] }, 'where[0].is'],
    [{ operation: 'transform', from: file, to, where: [{ field: 'a', is: 'in', value: 5 }] }, 'where[0].value'],
    [{ operation: 'aggregate', from: file, to, compute: {} }, 'compute'],
    [{ operation: 'aggregate', from: file, to, compute: { n: { function: 'sum' } } }, 'compute.n.field'],
    [{ operation: 'aggregate', from: file, to: file, compute: count }, 'to.file'],
    [{ operation: 'aggregate', from: lines, to, rejects: lines, compute: count }, 'rejects.file'],
    [{ operation: 'export', query: '../a', to: file }, 'query'],
    [{ operation: 'export', sql: 'select 1', query: 'a', to: file }, 'sql'],
    [{ operation: 'import', from: file }, 'table'],
    [{ operation: 'import', from: lines, table: 'a', rejects: lines }, 'rejects.file'],
  ])('refuses %j and names the field', async (payload, where) => {
    const refused = await dataFolder()
      .run(payload)
      .catch((error) => error);
    expect(refused).toMatchObject({ code: 'payload-invalid' });
    expect(refused.problems[0].where).toBe(`payload.${where}`);
  });

  it('says which setting is missing for export and import', async () => {
    const { put, run } = dataFolder({ importTables: ['a'] });
    put('a.csv', 'a\n');
    put('queries/a.sql', 'select 1');
    for (const payload of [
      { operation: 'import', from: file, table: 'a' },
      { operation: 'export', query: 'a', to: file },
    ]) {
      await expect(run(payload)).rejects.toThrow('DATABASE_URL is not set');
    }
    await expect(run({ operation: 'import', from: file, table: 'b' })).rejects.toThrow('DATA_IMPORT_TABLES');
  });
});
