/** Whether a name is one of the IANA's zones. */
export function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    // Offsets such as "+02:00" are accepted by Intl but are no zone: they know no daylight saving time.
    return !/^[+-]/.test(name);
  } catch {
    return false;
  }
}
