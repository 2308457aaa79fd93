/**
 * A few small files read together, and again when they change: certificates and keys that somebody else renews.
 * Layer: kubelet/server (edge: files). Knows not what is in them: `parse` says whether they fit together. What cannot be
 * used is told once, and the last good content stays in use.
 */
import { type FSWatcher, watch } from 'node:fs';
import { dirname } from 'node:path';
import { readFileBounded } from '../../base/atomic-file.ts';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface FollowedFilesOptions<Content> {
  files: readonly string[];
  /** @throws Error for content that cannot be used, as when one file of a pair is not replaced yet */
  parse(texts: readonly string[]): Content;
  /** After the first content: each that differs. */
  onChange(content: Content): void;
  clock: Clock;
  log: Logger;
}

export interface FollowedFiles<Content> {
  /** What was read first. */
  content: Content;
  stop(): void;
}

const maxFileBytes = 1024 * 1024;
/** A rotation writes more than one file, or a folder of links: look a moment after its first event. */
const momentMs = 100;
/** Behind the events: a folder that was itself replaced is not watched any more (dynamiccertificates looks each minute). */
const lookAgainMs = 60_000;

/** @throws FileError, Node's errors, what `parse` throws: without a first content there is nothing to go on with */
export async function followFiles<Content>(options: FollowedFilesOptions<Content>): Promise<FollowedFiles<Content>> {
  const { files, parse, clock, log } = options;
  const read = async (): Promise<string[]> => {
    const texts: string[] = [];
    for (const file of files) texts.push((await readFileBounded(file, maxFileBytes)).data.toString());
    return texts;
  };
  const first = await read();
  const content = parse(first);
  let known = JSON.stringify(first);
  let told = '';
  let stopped = false;
  let cancel: CancelTimer = () => undefined;
  let looking = false;
  /** Something happened since the last look began. */
  let news = false;

  const look = async (): Promise<void> => {
    looking = true;
    news = false;
    try {
      const texts = await read();
      const next = JSON.stringify(texts);
      if (next !== known && !stopped) {
        const parsed = parse(texts);
        known = next;
        log.info({ files }, 'files have changed and are used from now on');
        options.onChange(parsed);
      }
      told = '';
    } catch (error) {
      const line = errorLine(error);
      if (line !== told)
        log.warn({ files, error: line }, 'changed files cannot be used; the former content stays in use');
      told = line;
    } finally {
      looking = false;
      lookIn(news ? momentMs : lookAgainMs);
    }
  };
  const onEvent = (): void => {
    // Once for many: a folder in which something happens all the time must not put the look off for ever.
    if (!news && !looking) lookIn(momentMs);
    news = true;
  };
  const lookIn = (delayMs: number): void => {
    cancel();
    if (!stopped) cancel = clock.after(delayMs, () => void look());
  };
  // The folders, not the files: those are replaced by renames, or are links into a folder that is.
  const watchers = [...new Set(files.map((file) => dirname(file)))].flatMap((folder) => {
    const watcher = watchFolder(folder, onEvent);
    return watcher === undefined ? [] : [watcher];
  });
  // Between the reading and the watching.
  lookIn(momentMs);
  return {
    content,
    stop() {
      stopped = true;
      cancel();
      for (const watcher of watchers) watcher.close();
    },
  };
}

function watchFolder(folder: string, onEvent: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(folder, { persistent: false }, onEvent);
    watcher.on('error', () => watcher.close());
    return watcher;
  } catch {
    // Out of inotify watches: the look each minute remains.
    return undefined;
  }
}
