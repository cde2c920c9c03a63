import type { JobContext } from '../../context.js';
import type { Draft, Folder } from './folder.js';
import type { RejectSettings } from './payload.js';
import { createRejects, type Rejects } from './rejects.js';

/** What a run came to: rows, and what it wrote. */
export interface Outcome {
  readonly rowsRead: number;
  readonly rowsWritten: number;
  readonly rowsRejected: number;
  /** Null where rows went elsewhere. */
  readonly file: string | null;
  readonly bytesWritten: number | null;
}

interface Wanted<File extends string | null> {
  readonly file: File;
  readonly aside?: RejectSettings | undefined;
}

interface Drafts<File> {
  readonly draft: File extends string ? Draft : null;
  readonly rejects: Rejects;
}

/**
 * Gives what is to be written to, and puts it in its place once `use` has resolved; where that throws nothing of it is
 * left.
 */
export async function withDrafts<File extends string | null>(
  { context: { run, signal }, folder }: { context: Pick<JobContext, 'run' | 'signal'>; folder: Folder },
  { file, aside }: Wanted<File>,
  use: (drafts: Drafts<File>) => Promise<Pick<Outcome, 'rowsRead' | 'rowsWritten'>>,
): Promise<Outcome> {
  const rejects = await createRejects(aside, folder, run.id);
  let draft: Draft | null = null;
  try {
    if (file !== null) draft = await folder.create(file, run.id);
    const rows = await use({ draft, rejects } as Drafts<File>);
    // Rows that went elsewhere are there for good by now: a run that came to nothing would bring them again.
    if (draft) signal.throwIfAborted();
    // The rejects first: where the file is, all there is to know of it is.
    await rejects.complete();
    const bytesWritten = (await draft?.complete()) ?? null;
    return { ...rows, rowsRejected: rejects.count, file, bytesWritten };
  } catch (error) {
    await Promise.all([draft?.discard(), rejects.discard()]);
    // What an abort breaks off fails in many ways; the reason is one.
    throw signal.aborted ? signal.reason : error;
  }
}
