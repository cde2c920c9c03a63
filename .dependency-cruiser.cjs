// Who may import whom: the table of docs/architecture.md, and no cycles.

/** Leaves that everybody may use. */
const leaves = '^src/(errors|duration|problems|json-fault|lifecycle|timezone)\\.ts$';

/** @type {(folder: string, allowed: string[], typesOnly?: string[]) => object[]} */
const mayImport = (folder, allowed, typesOnly = []) => {
  const from = { path: `^src/${folder}` };
  const known = [`^src/${folder}`, leaves, ...allowed.map((name) => `^src/${name}`)];
  return [
    {
      name: `${folder}-imports`,
      severity: 'error',
      comment: `src/${folder} may import from ${allowed.join(', ') || 'nothing'} of ours`,
      from,
      to: { path: '^src/', pathNot: [...known, ...typesOnly.map((name) => `^src/${name}`)] },
    },
    ...typesOnly.map((name) => ({
      name: `${folder}-takes-types-of-${name}`,
      severity: 'error',
      from,
      to: { path: `^src/${name}`, dependencyTypesNot: ['type-only'] },
    })),
  ];
};

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-strays', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'redis-in-the-broker-alone',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/broker/' },
      to: { path: 'node_modules/ioredis/' },
    },
    { name: 'leaves-import-leaves', severity: 'error', from: { path: leaves }, to: { path: '^src/', pathNot: leaves } },
    {
      name: 'client-stands-alone',
      severity: 'error',
      comment: 'src/client runs wherever fetch is: of all else it takes types',
      from: { path: '^src/client/' },
      to: { pathNot: '^src/client/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'postgres-in-its-folder-alone',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/postgres/' },
      to: { path: 'node_modules/(pg|node-pg-migrate)/', dependencyTypesNot: ['type-only'] },
    },
    ...mayImport('config\\.ts', ['settings/']),
    ...mayImport('settings/', []),
    ...mayImport('jobs/', []),
    ...mayImport('testing/', ['jobs/']),
    ...mayImport('broker/', ['jobs/'], ['config\\.ts']),
    ...mayImport('postgres/', [], ['jobs/']),
    ...mayImport('producers/', ['jobs/', 'broker/']),
    ...mayImport('workers/', ['jobs/', 'broker/']),
    ...mayImport('http/', ['jobs/', 'producers/'], ['broker/', 'config\\.ts']),
    ...mayImport('observability/', ['jobs/'], ['config\\.ts']),
    ...mayImport('cli/', [
      ...['jobs/', 'broker/', 'postgres/', 'producers/', 'observability/', 'client/'],
      ...['config\\.ts', 'main\\.ts'],
    ]),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.mjs'],
    },
  },
};
