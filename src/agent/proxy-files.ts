/**
 * Services and EndpointSlices of files, as `kubectl get services,endpointslices -A -o yaml` (or json) writes them.
 * Layer: agent (edge: disk). Lists are unfolded; objects of other kinds are named and left out.
 */

import type { EndpointSlice } from '../api/discovery.ts';
import { projectEndpointSlice } from '../api/project-endpoint-slice.ts';
import { projectService } from '../api/project-service.ts';
import { ObjectShapeError, RawObject } from '../api/raw-object.ts';
import type { Service } from '../api/service.ts';
import { FileError, readFileBounded } from '../base/atomic-file.ts';
import { hasErrorCode } from '../base/errors.ts';
import { parseYamlDocuments } from '../kubelet/static/yaml-documents.ts';
import { errorLine, KeelsonError } from '../observe/keelson-error.ts';

/** JSON of a hundred thousand endpoints is some 30 MB; YAML has the limits of manifests (yaml-documents.ts). */
const maxFileBytes = 512 * 1024 * 1024;

export interface ProxyFiles {
  services: Service[];
  slices: EndpointSlice[];
  /** What was left out, one line each. */
  ignored: string[];
}

/** @param paths `-` is standard input @throws KeelsonError PROXY_FILE naming file and field */
export async function readProxyFiles(paths: readonly string[]): Promise<ProxyFiles> {
  const found: ProxyFiles = { services: [], slices: [], ignored: [] };
  for (const path of paths) {
    for (const document of parseDocuments(await readText(path), path)) collect(document, path, found);
  }
  return found;
}

async function readText(path: string): Promise<string> {
  try {
    if (path !== '-') return (await readFileBounded(path, maxFileBytes)).data.toString('utf8');
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk);
    return Buffer.concat(chunks).toString('utf8');
  } catch (cause) {
    if (!(cause instanceof FileError) && !hasErrorCode(cause, 'ENOENT', 'EACCES', 'EISDIR', 'ENOTDIR')) throw cause;
    throw fileError(path, `cannot be read: ${errorLine(cause)}`, 'name a readable file', cause);
  }
}

function parseDocuments(text: string, path: string): unknown[] {
  if (text.trimStart().startsWith('{')) {
    try {
      return [JSON.parse(text)];
    } catch (cause) {
      throw fileError(path, `is no JSON: ${errorLine(cause)}`, 'correct the file', cause);
    }
  }
  const { documents, problems } = parseYamlDocuments(text);
  const [problem] = problems;
  if (problem !== undefined)
    throw fileError(`${path}:${problem.line}`, problem.message, problem.fix ?? 'correct the file');
  return documents.map(({ value }) => value);
}

function collect(value: unknown, place: string, found: ProxyFiles): void {
  try {
    const raw = new RawObject(value);
    const kind = raw.requiredText('kind');
    if (kind === 'Service') found.services.push(projectService(value));
    else if (kind === 'EndpointSlice') found.slices.push(projectEndpointSlice(value));
    else if (kind.endsWith('List')) {
      // Items of a typed list do not repeat their kind.
      const itemKind = kind === 'List' ? {} : { kind: kind.slice(0, -'List'.length) };
      for (const [index, item] of raw.values('items').entries())
        collect(typeof item === 'object' ? { ...itemKind, ...item } : item, `${place}: items[${index}]`, found);
    } else found.ignored.push(`${place}: ${kind} ${raw.object('metadata')?.text('name') ?? ''}`.trimEnd());
  } catch (cause) {
    if (!(cause instanceof ObjectShapeError)) throw cause;
    throw fileError(place, `${cause.object} ${cause.message}`, 'correct the field', cause);
  }
}

const fileError = (object: string, message: string, fix: string, cause?: unknown): KeelsonError =>
  new KeelsonError('PROXY_FILE', message, { object, fix, cause });
