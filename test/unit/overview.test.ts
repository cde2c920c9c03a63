import { describe, expect, it } from 'vitest';
import { html } from '../../src/http/site/html.js';
import { choose, type OverviewQuery } from '../../src/producers/overview.js';
import type { Standing } from '../../src/producers/views.js';

function standing(id: string, facts: Partial<Standing> = {}): Standing {
  return { id, job: 'mail', description: '', health: 'sound', next: 1, outcome: 'succeeded', latenessMs: 0, ...facts };
}

function ask(query: Partial<OverviewQuery> = {}): OverviewQuery {
  const all = { text: '', health: null, job: null, mayUse: () => true } as const;
  return { ...all, sort: 'trouble', page: 1, perPage: 50, ...query };
}

const some = [
  standing('a'),
  standing('b', { health: 'paused', next: null }),
  standing('c', { outcome: 'failed', next: 9 }),
  standing('d', { health: 'late', latenessMs: 6_000, next: 5 }),
  standing('e', { health: 'broken', next: null }),
  standing('f', { health: 'late', latenessMs: 60_000, next: 4, job: 'print', description: 'Prints It' }),
  standing('g', { health: 'paused', outcome: 'failed', next: null }),
];

const idsOf = (query: Partial<OverviewQuery>) => choose(some, ask(query)).ids.join('');

describe('an overview', () => {
  it('puts first what cannot run, then the latest of the late, then what failed last', () => {
    expect(idsOf({})).toBe('efdcabg');
  });

  it('is in any other order that is asked for', () => {
    expect(idsOf({ sort: 'name' })).toBe('abcdefg');
    expect(idsOf({ sort: 'next' })).toBe('afdcbeg');
    expect(idsOf({ sort: 'last' })).toBe('cgabdef');
    expect(idsOf({ sort: 'lateness' })).toBe('fdabceg');
  });

  it('finds by text in id, job and description, by job, and by health', () => {
    expect(idsOf({ text: 'prints' })).toBe('f');
    expect(idsOf({ text: 'MAIL', sort: 'name' })).toBe('abcdeg');
    expect(idsOf({ job: 'print' })).toBe('f');
    expect(idsOf({ health: 'late' })).toBe('fd');
    expect(idsOf({ health: 'trouble' })).toBe('efdc');
  });

  it('counts each health of what the text finds, whatever health is asked for', () => {
    const { counts, found } = choose(some, ask({ job: 'mail', health: 'broken' }));
    expect(found).toBe(1);
    const expected = { trouble: 3, sound: 2, paused: 2, late: 1, broken: 1 };
    expect(Object.fromEntries(counts)).toEqual(expected);
  });

  it('comes a page at a time, the last for whoever asks for one beyond it', () => {
    expect(choose(some, ask({ sort: 'name', perPage: 3, page: 2 }))).toMatchObject({ ids: ['d', 'e', 'f'], pages: 3 });
    expect(choose(some, ask({ sort: 'name', perPage: 3, page: 9 }))).toMatchObject({ ids: ['g'], page: 3, found: 7 });
    expect(choose([], ask())).toMatchObject({ ids: [], page: 1, pages: 1, found: 0 });
  });

  it('tells a key that is for some jobs of these alone', () => {
    const { ids, counts } = choose(some, ask({ mayUse: (job) => job === 'print' }));
    expect(ids).toEqual(['f']);
    expect([...counts.values()]).toEqual([1, 1]);
  });
});

describe('html', () => {
  it('escapes all that is put into it, but for what is a piece of a page itself', () => {
    const name = "<b title='\"'>&";
    const piece = html`<i>${name}</i>`;
    expect(html`<p class="${name}">${piece}${[name, piece]}${null}${false}${0}</p>`.text).toBe(
      '<p class="&#60;b title=&#39;&#34;&#39;&#62;&#38;">' +
        '<i>&#60;b title=&#39;&#34;&#39;&#62;&#38;</i>&#60;b title=&#39;&#34;&#39;&#62;&#38;' +
        '<i>&#60;b title=&#39;&#34;&#39;&#62;&#38;</i>0</p>',
    );
  });
});
