import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/chaos/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    // Most of them wait for a minute to pass.
    maxWorkers: 2,
    isolate: false,
    testTimeout: 180_000,
    hookTimeout: 60_000,
    // CI shares its two cores with others; a retry is printed there, and is a defect to look into.
    retry: process.env.CI ? 1 : 0,
  },
});
