/** The ServiceSource of the folder, on the real board and a folder that the test writes. */
import test, { type ExecutionContext } from 'ava';
import { assembleSnapshot, type FileRecord, newFileRecord, updateRecord } from '../../kubelet/static/folder-state.ts';
import { parseManifest } from '../../kubelet/static/manifest.ts';
import type { ManifestSnapshot } from '../../kubelet/static/manifest-snapshot.ts';
import { shareSource } from '../../kubelet/static/shared-source.ts';
import { StatusBoard } from '../../kubelet/status/status-board.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { ServiceEvent } from '../../proxy/service-source.ts';
import { formatEndpoint } from '../../proxy/services/address.ts';
import { ServiceTracker } from '../../proxy/services/service-tracker.ts';
import { aPod } from './fake-pods.ts';
import { createStandaloneServiceSource } from './standalone-service-source.ts';

const serviceNetwork = { address: 0x0a600000, prefixLength: 16 };
const web = (extra = ''): string => `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]${extra}}
`;

/** A folder of texts, with the product's own reading of them. */
class Folder {
  readonly #files = new Map<string, FileRecord>();
  #listener: ((snapshot: ManifestSnapshot) => void) | undefined;
  readonly source = shareSource({
    start: async (listener) => {
      this.#listener = listener;
      listener(assembleSnapshot(this.#files.values()));
    },
  });

  write(file: string, text: string | undefined): this {
    const origin = { nodeName: 'node1', seenAt: 0, otherObjects: 0 };
    if (text === undefined) this.#files.delete(file);
    else {
      const before = this.#files.get(file) ?? newFileRecord(file);
      this.#files.set(file, updateRecord(before, parseManifest(Buffer.from(text), file), origin));
    }
    this.#listener?.(assembleSnapshot(this.#files.values()));
    return this;
  }
}

function setUp(t: ExecutionContext, folder: Folder) {
  const board = new StatusBoard();
  const abort = new AbortController();
  const calls: (readonly ServiceEvent[])[] = [];
  const source = createStandaloneServiceSource({
    manifests: folder.source,
    pods: board,
    nodeName: 'node1',
    serviceNetwork,
    log: silentLogger,
  });
  t.teardown(() => abort.abort());
  return {
    board,
    abort,
    calls,
    source,
    start: () => source.start((events) => calls.push(events), abort.signal),
    kubelet: () => folder.source.start(() => undefined, abort.signal),
    /** Words for the events of the latest call. */
    said: () =>
      (calls.at(-1) ?? []).map((event) => {
        const name =
          'service' in event ? (event.event === 'serviceSet' ? event.service.metadata.name : event.service.name) : '';
        if (event.event !== 'sliceSet') return `${event.event} ${name}`.trim();
        const endpoints = (event.slice.endpoints ?? []).map(
          ({ addresses, conditions: is }) =>
            `${addresses[0]}${is?.ready === false ? ' unready' : ''}${is?.terminating ? ' ending' : ''}`,
        );
        return `${event.event} ${endpoints.join(', ')}`;
      }),
  };
}

test('the first call has everything, endpoints included, and comes before start resolves', async (t) => {
  const node = setUp(t, new Folder().write('/d/web.yaml', web()));
  const { pod, status } = aPod('a');
  node.board.set(pod, status);
  await node.kubelet();
  await node.start();
  t.is(node.calls.length, 1);
  t.deepEqual(node.said(), ['serviceSet web', 'sliceSet 10.244.0.2']);
  const [event] = node.calls[0] ?? [];
  const spec = event?.event === 'serviceSet' ? event.service.spec : undefined;
  t.regex(spec?.clusterIP ?? '', /^10\.96\./);
  t.deepEqual(spec?.ipFamilies, ['IPv4']);
});

test('an empty folder is handed over as an empty list', async (t) => {
  const node = setUp(t, new Folder());
  await node.kubelet();
  await node.start();
  t.deepEqual(node.calls, [[]]);
});

test('started before the kubelet it waits; stopped while it waits it says so', async (t) => {
  const folder = new Folder().write('/d/web.yaml', web());
  const node = setUp(t, folder);
  const started = node.start();
  t.deepEqual(node.calls, []);
  await node.kubelet();
  await started;
  t.is(node.calls.length, 1);
  const other = setUp(t, new Folder());
  const waiting = other.start();
  other.abort.abort(new Error('enough'));
  await t.throwsAsync(waiting, { message: 'enough' });
  await t.throwsAsync(other.start(), { message: 'enough' });
});

test('pods: ready, ending, gone; each change is one call about its Service only', async (t) => {
  const node = setUp(t, new Folder().write('/d/web.yaml', web()));
  await node.kubelet();
  await node.start();
  const { pod, status } = aPod('a', { ready: false });
  node.board.set(pod, status);
  t.deepEqual(node.said(), ['sliceSet 10.244.0.2 unready']);
  node.board.set(pod, aPod('a').status);
  t.deepEqual(node.said(), ['sliceSet 10.244.0.2']);
  node.board.end(pod.metadata.uid);
  t.deepEqual(node.said(), ['sliceSet 10.244.0.2 unready ending']);
  node.board.set(pod, aPod('a', { phase: 'Failed' }).status);
  t.deepEqual(node.said(), ['sliceDeleted']);
  const { length } = node.calls;
  node.board.delete(pod.metadata.uid);
  node.board.set(aPod('x', { labels: { app: 'other' } }).pod, status);
  t.is(node.calls.length, length, 'nothing to say');
});

test('files: a comment says nothing, a port is one event, a removed file takes Service and slices', async (t) => {
  const folder = new Folder().write('/d/web.yaml', web());
  const node = setUp(t, folder);
  const { pod, status } = aPod('a');
  node.board.set(pod, status);
  await node.kubelet();
  await node.start();
  folder.write('/d/web.yaml', `# a comment\n${web()}`);
  t.is(node.calls.length, 1);
  folder.write('/d/web.yaml', web(', sessionAffinity: ClientIP'));
  t.deepEqual(node.said(), ['serviceSet web']);
  folder.write('/d/web.yaml', 'kind: [broken');
  t.is(node.calls.length, 2, 'a broken file leaves in force what it gave');
  folder.write(
    '/d/slice.yaml',
    `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: far, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.9]}]
ports: [{port: 8080}]
`,
  );
  t.deepEqual(node.said(), ['sliceSet 192.0.2.9']);
  folder.write('/d/slice.yaml', undefined);
  t.deepEqual(node.said(), ['sliceDeleted']);
  folder.write('/d/web.yaml', undefined);
  t.deepEqual(node.said(), ['serviceDeleted web', 'sliceDeleted']);
  node.abort.abort();
  folder.write('/d/web.yaml', web());
  t.is(node.calls.length, 5);
});

test('a Service that cannot have its address is a problem with file and line, and goes when it is mended', async (t) => {
  const folder = new Folder().write('/d/web.yaml', web(', clusterIP: 192.0.2.1'));
  const node = setUp(t, folder);
  await node.kubelet();
  await node.start();
  t.deepEqual(node.calls, [[]]);
  t.deepEqual(node.source.problems().map(errorLine), [
    '/d/web.yaml:2: service default/web: spec.clusterIP: 192.0.2.1 is no address for a Service in 10.96.0.0/16 (choose one of that range, remove it, or start with another --service-cidr)',
  ]);
  folder.write('/d/web.yaml', web());
  t.deepEqual(node.said(), ['serviceSet web']);
  t.deepEqual(node.source.problems(), []);
});

test('the proxy understands all of it: one group of two endpoints behind a cluster IP and a node port', async (t) => {
  const text = web(', type: NodePort');
  const node = setUp(t, new Folder().write('/d/web.yaml', text));
  for (const { pod, status } of [aPod('a'), aPod('b', { ips: ['10.244.0.3'] })]) node.board.set(pod, status);
  await node.kubelet();
  await node.start();
  const tracker = new ServiceTracker({ family: 'IPv4', nodeName: 'node1' });
  for (const event of node.calls[0] ?? []) {
    if (event.event === 'serviceSet') tracker.serviceSet(event.service, 'list');
    if (event.event === 'sliceSet') tracker.sliceSet(event.slice, 'list');
  }
  t.deepEqual(tracker.flush().reports, []);
  const { services, nodePorts, groups } = tracker.model;
  t.is(services.size, 1);
  t.is(nodePorts.size, 1);
  const lists = [...groups.values()].map(({ endpoints }) => endpoints.map(formatEndpoint).sort());
  t.deepEqual(lists, [['10.244.0.2:8080', '10.244.0.3:8080']]);
});
