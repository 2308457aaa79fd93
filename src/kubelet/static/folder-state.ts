/**
 * What is known of a manifest folder, and the snapshot that follows from it.
 * Layer: kubelet/static (pure). folder-source.ts reads the files and keeps the records; here is decided what they mean:
 * who wins when two files name the same object, what a broken file leaves in force, when there are too many.
 */
import type { ConfigMap, Pod, Secret } from '../../api/core.ts';
import type { EndpointSlice } from '../../api/discovery.ts';
import type { Service } from '../../api/service.ts';
import type { ManifestDocument, ParsedManifest } from './manifest.ts';
import { maxDocuments } from './manifest.ts';
import { ManifestError } from './manifest-error.ts';
import type { ManifestPlace, ManifestSnapshot } from './manifest-snapshot.ts';
import { applyEndpointSliceDefaults, applyServiceDefaults } from './service-defaults.ts';
import { checkStaticPodName, staticPodUid, toStaticPod } from './static-pod.ts';

/** An object of a file, ready for the snapshot. */
export type FolderObject = {
  /** `namespace/name` as written in the file. */
  readonly key: string;
  readonly line: number;
} & (
  | {
      readonly kind: 'Pod';
      readonly object: Pod;
      /** Changes with the document, even when the file gives the UID. */ readonly contentHash: string;
    }
  | { readonly kind: 'ConfigMap'; readonly object: ConfigMap }
  | { readonly kind: 'Secret'; readonly object: Secret }
  | { readonly kind: 'Service'; readonly object: Service }
  | { readonly kind: 'EndpointSlice'; readonly object: EndpointSlice }
);

/** One file: the objects that it last gave without a problem, and the problems that it has now. */
export interface FileRecord {
  /** Absolute path. */
  readonly file: string;
  readonly objects: readonly FolderObject[];
  readonly errors: readonly ManifestError[];
  /** False until the file was once read without a problem. */
  readonly everGood: boolean;
}

/** A file that nothing is known of yet. */
export function newFileRecord(file: string): FileRecord {
  return { file, objects: [], errors: [], everGood: false };
}

export interface FileOrigin {
  readonly nodeName: string;
  /** Milliseconds since the epoch. */
  readonly seenAt: number;
  /** How many objects the other files have: together with this one's they must stay within `maxDocuments`. */
  readonly otherObjects: number;
}

/** The record after the file was read: good content replaces all objects, bad content only the errors. */
export function updateRecord(record: FileRecord, parsed: ParsedManifest, origin: FileOrigin): FileRecord {
  const errors = parsed.errors.length > 0 ? parsed.errors : folderErrors(record.file, parsed, origin);
  if (errors.length > 0) return { ...record, errors };
  const objects = parsed.documents.map((document) => toFolderObject(document, record, origin));
  return { file: record.file, objects, errors: [], everGood: true };
}

/** The record after the file could not be read. */
export function breakRecord(record: FileRecord, error: ManifestError): FileRecord {
  return { ...record, errors: [error] };
}

/** What is wrong with a file only on this node and in this folder. */
function folderErrors(file: string, parsed: ParsedManifest, origin: FileOrigin): ManifestError[] {
  const total = origin.otherObjects + parsed.documents.length;
  if (total > maxDocuments) {
    const message = `the folder would hold ${total} objects, more than the limit of ${maxDocuments}`;
    return [new ManifestError('MANIFEST_LIMIT', message, { file, fix: 'remove some' })];
  }
  return parsed.documents.flatMap((document) => {
    if (document.kind !== 'Pod') return [];
    const { name, namespace } = document.object.metadata;
    return checkStaticPodName(name, origin.nodeName).map((reason) => {
      const place = { file, line: document.line, document: `pod ${namespace}/${name}`, field: 'metadata.name' };
      return new ManifestError('MANIFEST_VALUE', `with the node's name after it, it ${reason}`, place);
    });
  });
}

function toFolderObject(document: ManifestDocument, record: FileRecord, origin: FileOrigin): FolderObject {
  const { kind, line, written } = document;
  const key = `${document.object.metadata.namespace}/${document.object.metadata.name}`;
  if (kind === 'Service') return { kind, key, line, object: applyServiceDefaults(document.object) };
  if (kind === 'EndpointSlice') return { kind, key, line, object: applyEndpointSliceDefaults(document.object) };
  if (kind !== 'Pod') return { ...document, key, line };
  const { nodeName, seenAt } = origin;
  const contentHash = staticPodUid({ file: record.file, nodeName, written });
  // A pod that did not change keeps its object, and with it the time when it was first seen.
  const known = record.objects.find((other) => other.kind === 'Pod' && other.key === key);
  if (known?.kind === 'Pod' && known.contentHash === contentHash) return { ...known, line };
  const object = toStaticPod(document.object, { file: record.file, nodeName, seenAt, written });
  return { kind, key, line, object, contentHash };
}

/**
 * The whole folder. Of two objects with the same kind, namespace and name, or two pods with the same UID, the first in the
 * order of file names is in force and the other is an error naming both; when the first goes, the other takes over.
 */
export function assembleSnapshot(records: Iterable<FileRecord>): ManifestSnapshot {
  const pods: Pod[] = [];
  const configMaps = new Map<string, ConfigMap>();
  const secrets = new Map<string, Secret>();
  const services = new Map<string, Service>();
  const endpointSlices = new Map<string, EndpointSlice>();
  const places = new Map<string, ManifestPlace>();
  const errors: { file: string; error: Error }[] = [];
  const brokenFiles = new Set<string>();
  const taken = new Map<string, string>();
  const sorted = [...records].sort((a, b) => (a.file < b.file ? -1 : 1));
  for (const record of sorted) {
    for (const error of record.errors) errors.push({ file: record.file, error });
    if (!record.everGood && record.errors.length > 0) brokenFiles.add(record.file);
    for (const object of record.objects) {
      const clash = claimedBy(object, taken);
      if (clash !== undefined) errors.push({ file: record.file, error: duplicate(record.file, object, clash) });
      else {
        for (const claim of claims(object)) taken.set(claim, `${record.file}:${object.line}`);
        if (object.kind === 'Pod') pods.push(object.object);
        else if (object.kind === 'ConfigMap') configMaps.set(object.key, object.object);
        else if (object.kind === 'Secret') secrets.set(object.key, object.object);
        else {
          if (object.kind === 'Service') services.set(object.key, object.object);
          else endpointSlices.set(object.key, object.object);
          places.set(documentName(object), { file: record.file, line: object.line });
        }
      }
    }
  }
  return { pods, configMaps, secrets, services, endpointSlices, places, errors, brokenFiles };
}

/** `service default/web` */
const documentName = ({ kind, key }: FolderObject): string => `${kind.toLowerCase()} ${key}`;

function claims(object: FolderObject): string[] {
  const name = `${object.kind} ${object.key}`;
  return object.kind === 'Pod' ? [name, `uid ${object.object.metadata.uid}`] : [name];
}

interface Clash {
  readonly place: string;
  readonly byUid: boolean;
}

function claimedBy(object: FolderObject, taken: ReadonlyMap<string, string>): Clash | undefined {
  const [byName, byUid] = claims(object).map((claim) => taken.get(claim));
  const place = byName ?? byUid;
  return place === undefined ? undefined : { place, byUid: byName === undefined };
}

function duplicate(file: string, object: FolderObject, clash: Clash): ManifestError {
  const what = clash.byUid ? 'has the UID of another pod' : 'is defined twice';
  return new ManifestError('MANIFEST_DUPLICATE', `${what}, the one of ${clash.place} is in force`, {
    file,
    line: object.line,
    document: documentName(object),
    fix: clash.byUid ? 'remove metadata.uid' : 'remove one or give it another name',
  });
}
