import { describe, expect, test } from 'vitest';
import { newest, type Sighting } from '../../src/broker/releases.js';

/** Seen for the first time in the order in which they are named. */
const seen = (...releases: string[]) =>
  releases.map((release, index) => ({ release, firstSeen: index, lastSeen: index })) as [Sighting, ...Sighting[]];

const newestOf = (...releases: string[]) => newest(seen(...releases)).release;

describe('of two releases, the newer', () => {
  test.each([
    ['1.2.3', '1.2.4'],
    ['1.9.0', '1.10.0'],
    ['v1.2.3', 'v2.0.0'],
    ['v1.2.3', '1.3'],
    ['1.2', '1.2.1'],
    ['41', '42'],
    ['9', '10'],
    ['2026-11-21', '2026-11-21.2'],
    ['2026-11-21.2', '2026-11-21.10'],
    ['2026-11-30', '2026-12-01'],
    ['20261121_0730', '20261121_0815'],
    ['1.3.0-rc.1', '1.3.0'],
    ['1.2.9', '1.3.0-rc.1'],
    ['1.3.0-rc.9', '1.3.0-rc.10'],
    ['1.3.0-rc9', '1.3.0-rc10'],
    ['1.3.0-alpha', '1.3.0-beta'],
    ['1.3.0-SNAPSHOT', '1.3.0'],
    ['v1.2.3', 'v1.2.3-14-g0a1b2c3'],
    ['v1.2.3-9-gfffffff', 'v1.2.3-14-g0a1b2c3'],
    ['0.1.0+build.9', '0.1.1+build.1'],
  ])('by version is, after %s, %s, whichever was seen first', (older, newer) => {
    expect(newestOf(older, newer)).toBe(newer);
    expect(newestOf(newer, older)).toBe(newer);
  });

  test.each([
    ['two git hashes', 'f3c2a1b', '0a1b2c3'],
    ['a hash and a version', '2.0.0', 'f3c2a1b'],
    ['a version and a hash', 'f3c2a1b', '0.1.0'],
    ['names', 'z-release', 'a-release'],
    ['a hash that begins like a number', '99e4567', '12e4567'],
    ['what is no version after all', '1.2.3.', '1.2.2'],
    ['versions that say the same', '1.2', 'v1.2.0'],
    ['two builds of one version', '1.2.3+b', '1.2.3+a'],
    ['two commits equally far from a tag', 'v1.2.3-4-gfffffff', 'v1.2.3-4-g0000000'],
  ])('is the one first seen later: %s', (_, older, newer) => {
    expect(newestOf(older, newer)).toBe(newer);
    expect(newestOf(newer, older)).toBe(older);
  });

  test('is the same for everybody where two were first seen in the same millisecond', () => {
    const [a, b] = ['f3c2a1b', '0a1b2c3'].map((release) => ({ release, firstSeen: 7, lastSeen: 7 })) as [
      Sighting,
      Sighting,
    ];
    expect(newest([a, b])).toBe(newest([b, a]));
  });
});

describe('of several releases', () => {
  test('exactly one is the newest, where each of three would be older than another by mixed measures', () => {
    const [two, hash, one] = seen('2.0', 'f3c2a1b', '1.0') as unknown as [Sighting, Sighting, Sighting];
    const orders: [Sighting, ...Sighting[]][] = [
      [one, two, hash],
      [hash, one, two],
      [two, hash, one],
    ];
    expect(new Set(orders.map((order) => newest(order).release))).toEqual(new Set(['1.0']));
  });

  test('the highest version is the newest', () => {
    expect(newestOf('1.10.0', '1.9.0', '1.2.0')).toBe('1.10.0');
  });
});
