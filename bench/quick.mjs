export const isQuick = process.env.BENCH_QUICK === '1';

/**
 * With `BENCH_QUICK=1` all is done once and on a hundredth of the size: that says whether the benchmarks still run, and
 * nothing of how fast anything is.
 */
export const size = (whole) => (isQuick ? Math.ceil(whole / 100) : whole);

/** How many rounds count, and how many come before them that do not. */
export const rounds = (counted) => (isQuick ? { counted: 1, before: 0 } : { counted, before: 1 });

export const ms = (whole) => (isQuick ? Math.min(whole, 1_000) : whole);
