import { isUtf8 } from 'node:buffer';
import type { Parser } from 'csv-parse';
import { NonRetryableError } from '../../../errors.js';
import { withNearest } from '../../../problems.js';
import type { Format } from './payload.js';

export type Row = Readonly<Record<string, unknown>>;

/** A row that cannot be read, and what came in its place. */
export class Damaged {
  readonly reason: string;
  readonly came: unknown;

  constructor(reason: string, came: unknown) {
    this.reason = reason;
    this.came = came;
  }
}

export interface Rows {
  /** The names of the columns, where a header tells them before all rows. */
  readonly columns: readonly string[] | null;
  /** In order, as many at once as one chunk of bytes held. */
  readonly batches: AsyncIterable<(Row | Damaged)[]>;
}

interface Shape {
  readonly format: Format;
  readonly delimiter: string;
}

/** A record that is longer than this, in bytes, is refused: nothing has to hold more of a file than that. */
const longestRecord = 1_024 * 1_024;
const mostColumns = 10_000;

/** @throws NonRetryableError for what no row can be found in */
export async function readRows(bytes: AsyncIterable<Buffer>, { format, delimiter }: Shape): Promise<Rows> {
  return format === 'csv' ? readCsv(bytes, delimiter) : { columns: null, batches: ndjsonRows(bytes) };
}

/**
 * That a header has the fields that somebody asks for: a misspelt one would be missing in each row. Where each row names
 * its own, nobody knows.
 */
export function mustHave({ columns }: Rows, fields: Iterable<string>): void {
  if (!columns) return;
  const missing = [...new Set(fields)].filter((field) => !columns.includes(field));
  if (missing.length === 0) return;
  throw new NonRetryableError(
    `the source has no column ${missing.map((field) => withNearest(field, columns)).join(', ')}`,
  );
}

async function readCsv(bytes: AsyncIterable<Buffer>, delimiter: string): Promise<Rows> {
  const records = csvRecords(bytes, delimiter);
  const first = await records.next();
  const { records: [header = [], ...others] = [], isSuspect = false } = first.value ?? {};
  const columns = first.done ? [] : readHeader(header);
  const rowsOf = (read: CsvBatch) => read.records.map((record) => rowOf(record, columns, read.isSuspect));
  return {
    columns,
    batches: (async function* () {
      if (others.length > 0) yield rowsOf({ records: others, isSuspect });
      for await (const batch of records) yield rowsOf(batch);
    })(),
  };
}

function readHeader(names: readonly string[]): readonly string[] {
  const fault = headerFault(names);
  if (fault) throw new NonRetryableError(`the header of the source ${fault}`);
  return names;
}

function headerFault(names: readonly string[]): string | null {
  if (names.length > mostColumns) return `has ${names.length} columns; at most ${mostColumns} are read`;
  const unnamed = names.findIndex((name) => name.trim() === '' || name === '__proto__');
  if (unnamed >= 0) return `has no name that can be used for column ${unnamed + 1}`;
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  return twice === undefined ? null : `names "${twice}" twice`;
}

function rowOf(record: readonly string[], columns: readonly string[], isSuspect: boolean): Row | Damaged {
  if (record.length !== columns.length) {
    return new Damaged(`it has ${record.length} fields where the header has ${columns.length}`, record);
  }
  if (isSuspect && record.some((field) => field.includes('\ufffd'))) return new Damaged('it is not UTF-8', record);
  const row: Record<string, string> = {};
  for (let index = 0; index < columns.length; index++) row[columns[index] as string] = record[index] as string;
  return row;
}

interface CsvBatch {
  readonly records: string[][];
  /** Whether some of the bytes may have been no UTF-8: what became of them is looked for only then. */
  readonly isSuspect: boolean;
}

/** The records of each chunk. csv-parse knows no bound of a record's fields, so bytes are counted here. */
async function* csvRecords(bytes: AsyncIterable<Buffer>, delimiter: string): AsyncGenerator<CsvBatch, undefined> {
  const { parse } = await import('csv-parse');
  const parser = parse({
    bom: true,
    delimiter,
    record_delimiter: ['\r\n', '\n'],
    // Rows of another length are told by whoever counts them; a quote within a field stands for itself.
    relax_column_count: true,
    relax_quotes: true,
    skip_empty_lines: true,
  });
  // Each write tells its own.
  parser.on('error', () => {});
  let ended = 0;
  let open = 0;
  let wasSuspect = false;
  for await (const chunk of bytes) {
    const records = await parsed(parser, chunk);
    const { records: read, empty_lines: empty } = parser.info;
    open = read + empty === ended ? open + chunk.length : chunk.length;
    ended = read + empty;
    if (open > longestRecord + chunkSlack) throw tooLong(`row ${read}`);
    // The end of a chunk may cut a character in two, and a record that began in the last one ends in this.
    const isSuspect = !isUtf8(chunk);
    if (records.length > 0) yield { records, isSuspect: isSuspect || wasSuspect };
    wasSuspect = isSuspect || (wasSuspect && records.length === 0);
  }
  parser.end();
  const records: string[][] = await parser.toArray().catch((error) => refused(error));
  if (records.length > 0) yield { records, isSuspect: wasSuspect };
}

async function parsed(parser: Parser, chunk: Buffer): Promise<string[][]> {
  const written = new Promise<void>((resolve, reject) => {
    parser.write(chunk, (error) => (error ? reject(error) : resolve()));
  });
  // Parsing is done by now, and the write is over once all that came of it is taken.
  const records: string[][] = [];
  for (let record = parser.read(); record !== null; record = parser.read()) records.push(record);
  await written.catch(refused);
  return records;
}

/** A chunk that a record ends in is counted with what it began in. */
const chunkSlack = 64 * 1_024;

function refused(error: Error): never {
  throw new NonRetryableError(`the source is no CSV: ${error.message}`);
}

function tooLong(where: string): Error {
  return new NonRetryableError(`${where} of the source has more than ${longestRecord} bytes`);
}

const newline = 0x0a;

async function* ndjsonRows(bytes: AsyncIterable<Buffer>): AsyncGenerator<(Row | Damaged)[]> {
  let open: Buffer[] = [];
  let openBytes = 0;
  let lines = 0;
  const read = (line: Buffer): Row | Damaged | [] => {
    lines++;
    return readLine(line, lines) ?? [];
  };
  for await (const chunk of bytes) {
    const [first, ...others] = linesIn(chunk);
    const last = others.pop();
    open.push(first);
    openBytes += first.length;
    if (openBytes > longestRecord) throw tooLong(`line ${lines + 1}`);
    if (!last) continue;
    yield [Buffer.concat(open), ...others].flatMap<Row | Damaged>(read);
    open = [last];
    openBytes = last.length;
  }
  yield [Buffer.concat(open)].flatMap<Row | Damaged>(read);
}

/** What lies between its ends of lines: at least one piece. */
function linesIn(chunk: Buffer): [Buffer, ...Buffer[]] {
  let from = chunk.indexOf(newline) + 1;
  if (from === 0) return [chunk];
  const pieces: [Buffer, ...Buffer[]] = [chunk.subarray(0, from - 1)];
  for (let at = chunk.indexOf(newline, from); at >= 0; at = chunk.indexOf(newline, from)) {
    pieces.push(chunk.subarray(from, at));
    from = at + 1;
  }
  pieces.push(chunk.subarray(from));
  return pieces;
}

const bom = Buffer.from([0xef, 0xbb, 0xbf]);

/** Null for an empty line. */
function readLine(line: Buffer, number: number): Row | Damaged | null {
  const text = (number === 1 && line.subarray(0, 3).equals(bom) ? line.subarray(3) : line).toString();
  if (text.trim() === '') return null;
  if (text.includes('\ufffd') && !isUtf8(line)) return new Damaged('it is not UTF-8', text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return new Damaged('it is no JSON', text);
  }
  if (text.length > deepest && isDeeper(value, deepest)) {
    return new Damaged(`it has lists or objects within more than ${deepest} others`, text);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return new Damaged('it is no JSON object', value);
  }
  if (Object.hasOwn(value, '__proto__')) return new Damaged('it has a field __proto__', text);
  if (mayChange.test(text) && changesNumber(text)) {
    return new Damaged('it has a number that cannot be kept as it is: text can', text);
  }
  return value as Row;
}

/** How deep values may lie: whoever writes or compares them goes down by calling itself. */
const deepest = 1_000;

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((one) => isDeeper(one, levels - 1));
}

/** Numbers of up to 15 digits, without an exponent, stay what they are. */
const mayChange = /[:,[\s]-?(?:[\d.]{16}|[\d.]+[eE])/;

/** Such as an id of 19 digits, of which the last ones would silently change. In JSON that was read already. */
function changesNumber(text: string): boolean {
  for (const [token] of text.matchAll(/"(?:[^"\\]+|\\.)*"|-?\d[\d.eE+-]*/g)) {
    if (!token.startsWith('"') && !isKept(token)) return true;
  }
  return false;
}

function isKept(written: string): boolean {
  const number = Number(written);
  if (!Number.isFinite(number)) return false;
  return plain(written) === plain(String(number)) || isFraction(written, number);
}

/** Such as an average: what stands for it has the same six decimals at least, and as many digits as a double has. */
function isFraction(written: string, number: number): boolean {
  return written.includes('.') && !Number.isInteger(number) && Math.abs(number) < 2 ** 33;
}

/** The same for all ways to write a number: its digits, and where its point is. */
function plain(written: string): string {
  const [mantissa = '', exponent = '0'] = written.toLowerCase().split('e');
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.');
  const digits = whole + fraction;
  let [start, end] = [0, digits.length];
  while (digits[start] === '0') start++;
  while (end > start && digits[end - 1] === '0') end--;
  return start === end ? '0' : `${digits.slice(start, end)}e${Number(exponent) + whole.length - start}`;
}
