import { createHash, randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, realpath, rename, unlink } from 'node:fs/promises';
import { basename, join, sep } from 'node:path';
import { NonRetryableError } from '../../../errors.js';

/** Files below one folder: nothing outside of it is read or written, whatever is asked for and wherever links lead. */
export interface Folder {
  /** Opens a regular file to be read. Whoever asked closes it. */
  open(path: string): Promise<{ readonly handle: FileHandle; readonly size: number }>;
  /**
   * Begins a file that is there only once it is complete. What an earlier attempt of the same run left of it is removed.
   */
  create(path: string, run: string): Promise<Draft>;
}

/** A file that is being written, under a name of its own beside the one that it will have. */
export interface Draft {
  readonly path: string;
  readonly handle: FileHandle;
  /** Puts it in its place, also where another file was. @returns its bytes */
  complete(): Promise<number>;
  /** Takes away what was written; nothing where it is complete. Never rejects. */
  discard(): Promise<void>;
}

/** Whether a path stays below a folder by its letters alone, and names no hidden part of it. */
export function isPathBelow(path: string): boolean {
  return path.split('/').every(isPlainName);
}

function isPlainName(name: string): boolean {
  // Room for what a draft's name has beside it: file systems take 255 bytes.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  return /^[^.\0-\x1f\x7f/\\:][^\0-\x1f\x7f/\\:]*$/.test(name) && Buffer.byteLength(name) <= 200;
}

/** @throws Error where there is no such folder: another worker may have it */
export async function openFolder(root: string): Promise<Folder> {
  const top = await realpath(root).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`DATA_FOLDER cannot be used on this worker: ${error.code}`);
  });
  return {
    async open(path) {
      const place = await placeOf(top, path, { make: false });
      // A link at the end is not followed, and a pipe that nobody writes to not waited for.
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
      const handle = await open(place, flags).catch((error) => refuse(path, error));
      try {
        const { size } = await mustBeAt(handle, place, path);
        return { handle, size };
      } catch (error) {
        await handle.close();
        throw error;
      }
    },
    async create(path, run) {
      const place = await placeOf(top, path, { make: true });
      const folder = join(place, '..');
      await mustBeReplaceable(place, path);
      const own = `.${basename(place)}.${createHash('sha256').update(run).digest('hex').slice(0, 12)}-`;
      await removeLeftovers(folder, own);
      const draft = join(folder, `${own}${randomBytes(4).toString('hex')}.part`);
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
      const handle = await open(draft, flags).catch((error) => refuse(path, error));
      return draftOf({ path, place, draft, handle });
    },
  };
}

/** Where a path leads, each part of the way resolved, so that no link in it leaves the folder. The end may be missing. */
async function placeOf(top: string, path: string, { make }: { make: boolean }): Promise<string> {
  if (!isPathBelow(path)) throw new NonRetryableError(`${path}: expected a path below DATA_FOLDER`);
  const names = path.split('/');
  const last = String(names.pop());
  let at = top;
  for (const name of names) {
    const next = join(at, name);
    if (make) await mkdir(next).catch((error) => (error.code === 'EEXIST' ? undefined : refuse(path, error)));
    at = await realpath(next).catch((error) => refuse(path, error));
    if (at !== top && !at.startsWith(top.endsWith(sep) ? top : top + sep)) throw leadsOut(path);
  }
  return join(at, last);
}

/**
 * What was opened must be what lies at its place now that it is open: on the way there somebody may have put a link in
 * the place of a folder.
 */
async function mustBeAt(handle: FileHandle, place: string, path: string): Promise<Stats> {
  const opened = await handle.stat();
  if (!opened.isFile()) throw new NonRetryableError(`${path} is no regular file`);
  const now = await realpath(place).catch(() => null);
  const there = await lstat(place).catch(() => null);
  if (now !== place || there?.ino !== opened.ino || there.dev !== opened.dev) throw leadsOut(path);
  return opened;
}

async function mustBeReplaceable(place: string, path: string): Promise<void> {
  const there = await lstat(place).catch(() => null);
  if (there && !there.isFile()) throw new NonRetryableError(`${path} is there, and no regular file`);
}

/** Of attempts of the same run whose process died. One that is not dead after all finds its draft gone. */
async function removeLeftovers(folder: string, own: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  const left = names.filter((name) => name.startsWith(own) && name.endsWith('.part'));
  await Promise.all(left.map((name) => unlink(join(folder, name)).catch(() => {})));
}

function draftOf({ path, place, draft, handle }: { path: string; place: string; draft: string; handle: FileHandle }) {
  let isComplete = false;
  return {
    path,
    handle,
    async complete() {
      await handle.sync();
      const { size } = await mustBeAt(handle, draft, path);
      await rename(draft, place).catch((error) => refuse(path, error));
      isComplete = true;
      await handle.close();
      await syncFolder(join(place, '..'));
      return size;
    },
    async discard() {
      if (isComplete) return;
      await handle.close().catch(() => {});
      await unlink(draft).catch(() => {});
    },
  } satisfies Draft;
}

/** So that the name outlives a loss of power as well; not every file system can. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY).catch(() => null);
  await handle?.sync().catch(() => {});
  await handle?.close();
}

const leadsOut = (path: string) => new NonRetryableError(`${path} leads out of DATA_FOLDER, or was moved meanwhile`);

/** Without the folder's own path, which is nobody's business who may start a run. */
function refuse(path: string, { code }: NodeJS.ErrnoException): never {
  if (code === 'ELOOP') throw new NonRetryableError(`${path} is a link, and links are not followed`);
  if (code === 'ENOENT') throw new Error(`${path} does not exist`);
  if (code === 'ENOTDIR') throw new NonRetryableError(`${path} leads through what is no folder`);
  throw new Error(`${path} cannot be opened: ${code}`);
}
