/** Something that is not as it should be. */
export interface Finding {
  readonly about: 'settings' | 'redis' | 'clock' | 'bullmq';
  /** Stable, to search for. */
  readonly code: string;
  /** `serious`: runs or ticks are lost, or do not happen. `warning`: they may. `note`: worth knowing. */
  readonly severity: Severity;
  readonly what: string;
  readonly todo: string;
  /** What `--fix` has done about it. */
  readonly fixed?: string;
}

export const severities = ['serious', 'warning', 'note'] as const;
export type Severity = (typeof severities)[number];

/** Some names in full, and how many there are beside them. */
export function some(names: readonly string[], most = 5): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}
