/**
 * GET /logs/...: the node's own log files below /var/log, folders as lists of links.
 * Layer: kubelet/server (edge: files). Reads in pieces, whatever the size. Rules: ServeLogs of pkg/kubelet/kubelet.go with
 * Go's http.FileServer; unlike that, links that lead out of the folder are not followed.
 */

import { opendir } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Route, RouteRequest } from '../route.ts';
import { type OpenedFile, openBelow } from './open-below.ts';

export interface NodeLogOptions {
  /** `/var/log` */
  directory: string;
  /** Answers `?query=`, which looks into the journal; undefined: files only. */
  query: ((request: RouteRequest, response: ServerResponse) => Promise<void>) | undefined;
}

export function nodeLogRoutes({ directory, query }: NodeLogOptions): Route[] {
  return [
    {
      methods: ['GET'],
      path: '/logs',
      subresources: ['log'],
      async handle({ url }, response) {
        // Relative: behind the API server's proxy the path is another.
        response.writeHead(301, { location: `logs/${url.search}`, 'content-length': 0 }).end();
      },
    },
    {
      methods: ['GET'],
      path: '/logs/{rest...}',
      subresources: ['log'],
      async handle(request, response) {
        const { rest = '' } = request.params;
        if (query !== undefined && rest === '' && request.url.searchParams.has('query'))
          return query(request, response);
        const opened = await openBelow(directory, rest);
        try {
          if (opened.kind === 'file') await sendFile(opened, request, response);
          else if (rest !== '' && !rest.endsWith('/')) redirectToSlash(rest, response);
          else await sendListing(opened, request, response);
        } finally {
          await opened.handle.close().catch(() => undefined);
        }
      },
    },
  ];
}

/** As much as there was when it was opened: a log that grows has no end. */
async function sendFile({ handle, size, modified }: OpenedFile, request: RouteRequest, response: ServerResponse) {
  response.writeHead(200, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': size,
    'last-modified': modified.toUTCString(),
    'x-content-type-options': 'nosniff',
  });
  if (size === 0) {
    response.end();
    return;
  }
  const content = handle.createReadStream({ start: 0, end: size - 1, autoClose: false });
  await pipeline(content, response, { signal: request.signal });
}

function redirectToSlash(rest: string, response: ServerResponse): void {
  const name = rest.split('/').at(-1) ?? '';
  response.writeHead(301, { location: `./${encodeURIComponent(name)}/`, 'content-length': 0 }).end();
}

async function sendListing({ handle }: OpenedFile, request: RouteRequest, response: ServerResponse): Promise<void> {
  // Through the descriptor: that is the folder that was judged.
  const folder = await opendir(`/proc/self/fd/${handle.fd}`);
  const names: string[] = [];
  for await (const entry of folder) names.push(entry.isDirectory() ? `${entry.name}/` : entry.name);
  names.sort();
  if (request.signal.aborted) return;
  const links = names.map((name) => `<a href="${linkTo(name)}">${escapeHtml(name)}</a>\n`);
  const body = `<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n${links.join('')}</pre>\n`;
  response.writeHead(200, {
    'content-type': 'text/html; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    'x-content-type-options': 'nosniff',
    // Names of files are made by others.
    'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'",
  });
  response.end(body);
}

/** `./` so that a colon in a name makes no scheme of it. */
const linkTo = (name: string): string => {
  const encoded = encodeURIComponent(name.toWellFormed()).replaceAll('%2F', '/').replaceAll("'", '%27');
  return name.includes(':') ? `./${encoded}` : encoded;
};

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
