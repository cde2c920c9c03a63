import { describe, expect, test } from 'vitest';
import { groupedNames } from '../../src/http/board.js';

describe('the jobs on the board', () => {
  test('are grouped where their first words are the same', () => {
    const names = ['billing-invoice', 'billing-report-daily', 'mail-digest', 'heartbeat', 'http-request'];
    expect([...groupedNames(names)]).toEqual(['billing-invoice', 'billing-report-daily']);
  });

  test('stay apart where one would disappear behind another', () => {
    expect([...groupedNames(['report', 'report-daily'])]).toEqual([]);
    expect([...groupedNames(['report-daily', 'report-daily-eu', 'mail-a', 'mail-b'])]).toEqual(['mail-a', 'mail-b']);
  });

  test('are not grouped for words that merely begin alike', () => {
    expect([...groupedNames(['mail-digest', 'mailing-list', 'mailer'])]).toEqual([]);
    expect([...groupedNames([])]).toEqual([]);
  });
});
