// The built command line, loaded once: runs one command after the other, as it is told over IPC.

const { run } = await import(new URL('../../dist/cli/program.js', import.meta.url).href);

const own = { out: process.stdout.write, err: process.stderr.write };
let last = Promise.resolve();
process.on('message', (command) => {
  last = last.then(() => execute(command)).then((outcome) => process.send(outcome));
});
process.on('disconnect', () => process.exit());
process.send('loaded');

async function execute({ args, env }) {
  const written = { out: '', err: '' };
  process.stdout.write = into('out');
  process.stderr.write = into('err');
  process.env = env;
  process.exitCode = undefined;
  try {
    const code = await run(['node', 'rondo', ...args]);
    return { code, stdout: written.out, stderr: written.err };
  } finally {
    process.stdout.write = own.out;
    process.stderr.write = own.err;
    process.exitCode = undefined;
  }

  function into(stream) {
    return (text, ...rest) => {
      written[stream] += text;
      rest.find((it) => typeof it === 'function')?.();
      return true;
    };
  }
}
