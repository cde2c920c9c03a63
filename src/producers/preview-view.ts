import { type Cancelled, type Preview, preview, zoneOf } from '../jobs/preview.js';
import type { NextTick, Timing } from '../jobs/schedule.js';
import { inWords, isoTime } from '../jobs/words.js';

/** When a schedule runs next, as people and services see it. Times are ISO. */
export interface PreviewView {
  readonly id: string;
  readonly words: string;
  readonly times: readonly {
    readonly time: string;
    readonly due: string;
    /** What the clock of its zone shows; null where that is UTC, or it follows none. */
    readonly local: string | null;
    readonly note: string | null;
  }[];
  /** What a calendar excludes, the clock jumps over or somebody has cancelled, on the way to the last of them. */
  readonly left: readonly {
    readonly kind: Preview['left'][number]['kind'];
    readonly time: string;
    readonly to: string;
    readonly count: number;
    readonly local: string | null;
    readonly note: string;
  }[];
  readonly complete: boolean;
}

export interface PreviewInput {
  /** In ms since the epoch. */
  readonly from: number;
  readonly count: number;
}

/**
 * The next times of any timing, stored or not.
 *
 * @param cancelled as in `preview`
 */
export function previewOf(
  id: string,
  timing: Timing,
  rule: NextTick | undefined,
  { from, count }: PreviewInput,
  cancelled?: Cancelled,
): PreviewView {
  const found = preview(timing, from, count, rule, cancelled);
  const local = localIn(zoneOf(timing));
  return {
    id,
    words: inWords(timing),
    times: found.times.map(({ time, due, note }) => ({
      time: isoTime(time),
      due: isoTime(due),
      local: local(time),
      note,
    })),
    left: found.left.map(({ time, to, ...row }) => ({
      ...row,
      time: isoTime(time),
      to: isoTime(to),
      local: local(time),
    })),
    complete: found.complete,
  };
}

function localIn(zone: string | null): (time: number) => string | null {
  if (zone === null || zone === 'UTC') return () => null;
  const format = new Intl.DateTimeFormat('en-GB', {
    weekday: 'short',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    timeZoneName: 'short',
    timeZone: zone,
  });
  return (time) => format.format(time);
}
