/** A line on a terminal that is written over and over: how much is done, and how fast. */
export interface Bar {
  /** @param share of the whole, 0 to 1; without one, where nobody knows the whole, no bar is drawn */
  show(done: number, share?: number): void;
  end(): void;
}

/** @param before how much was done when it began; @param whole of how many, in words */
export function createBar(before = 0, whole = ''): Bar {
  const shown = process.stderr.isTTY;
  const startedAt = performance.now();
  return {
    show(done, share) {
      if (!shown) return;
      const width = 30;
      const bar = share === undefined ? '' : `[${'#'.repeat(Math.round(width * share)).padEnd(width, '.')}] `;
      const perSecond = Math.round((done - before) / Math.max(0.001, (performance.now() - startedAt) / 1_000));
      process.stderr.write(`\r${bar}${done}${whole}, ${perSecond} a second\u001b[K`);
    },
    end() {
      if (shown) process.stderr.write('\r\u001b[K');
    },
  };
}
