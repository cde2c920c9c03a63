/**
 * What becomes of a run of a schedule that is due while another of its runs has not ended, retries and backoff
 * included: it runs too (`allow`), does not run (`skip`), runs after it (`wait`; one waits, later ones coalesce into
 * it), or runs in its place (`replace`: the other is cancelled).
 */
export const overlaps = ['allow', 'skip', 'wait', 'replace'] as const;
export type Overlap = (typeof overlaps)[number];
