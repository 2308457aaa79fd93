/**
 * A stateful stand-in for the kernel's rtnetlink with several network namespaces, for tests of everything above the edge.
 * Layer: linux (pure, test support). The rules live in fake-netns.ts; this file is namespaces, sockets and the interface.
 */
import { FakeNetns, toLink } from './fake-netns.ts';
import { errno, Refusal } from './fake-refusal.ts';
import { KernelError } from './kernel-error.ts';
import { messageName } from './netlink/constants.ts';
import { describe } from './netlink/describe.ts';
import { MessageWriter } from './netlink/message-writer.ts';
import { encodeOperation, messageTypeOf } from './netlink/operation.ts';
import type {
  Address,
  ForwardingEntry,
  Link,
  LinkRef,
  Neighbour,
  NotificationGroup,
  Route,
  Rtnetlink,
  RtnetlinkNotification,
  RtnetlinkOpener,
  RtnetlinkOperation,
} from './rtnetlink.ts';

interface Namespace {
  netns: FakeNetns;
  /** Sockets keep a namespace alive after its file is gone. */
  sockets: number;
  named: boolean;
}

/** `/run/netns/x` and the like name namespaces; the agent's own exists from the start. */
export class FakeRtnetlink implements RtnetlinkOpener {
  readonly #own: Namespace = { netns: new FakeNetns(0), sockets: 0, named: true };
  readonly #byPath = new Map<string, Namespace>();
  #nextId = 1;
  /** Every operation that was applied, in order, with the namespace's path. */
  readonly applied: { netnsPath: string | undefined; operation: RtnetlinkOperation }[] = [];
  /** When set, asked before each operation; an error it returns is the operation's result and nothing happens. */
  intercept: ((operation: RtnetlinkOperation, netnsPath: string | undefined) => Error | undefined) | undefined;
  /** Sockets and subscriptions that are open now: 0 at the end of a test, or something leaks. */
  openSockets = 0;

  addNamespace(path: string): void {
    if (this.#byPath.has(path)) throw new Error(`fake: namespace ${path} exists`);
    this.#byPath.set(path, { netns: new FakeNetns(this.#nextId++), sockets: 0, named: true });
  }

  /** As `ip netns del`: the namespace ends now, or with the last socket in it. */
  deleteNamespace(path: string): void {
    const namespace = this.#existing(path, 'unlink');
    this.#byPath.delete(path);
    namespace.named = false;
    this.#collect(namespace);
  }

  hasNamespace(path: string): boolean {
    return this.#byPath.has(path);
  }

  /** The state inside, for assertions. */
  namespace(path?: string): FakeNetns {
    return this.#existing(path, 'open').netns;
  }

  /** As if notifications had been lost. */
  overrun(): void {
    for (const listener of this.#own.netns.listeners) listener({ event: 'overrun' });
  }

  async open(netnsPath?: string): Promise<Rtnetlink> {
    const namespace = this.#existing(netnsPath, 'open');
    namespace.sockets++;
    this.openSockets++;
    return new FakeSocket(
      namespace.netns,
      (operation) => this.#apply(namespace.netns, netnsPath, operation),
      () => {
        namespace.sockets--;
        this.openSockets--;
        this.#collect(namespace);
      },
    );
  }

  async subscribe(
    groups: readonly NotificationGroup[],
    listener: (notification: RtnetlinkNotification) => void,
  ): Promise<() => void> {
    const { listeners } = this.#own.netns;
    const filtered = (notification: RtnetlinkNotification): void => {
      const group = groupOf(notification);
      if (group === undefined || groups.includes(group)) listener(notification);
    };
    listeners.add(filtered);
    this.openSockets++;
    return () => {
      if (listeners.delete(filtered)) this.openSockets--;
    };
  }

  #apply(netns: FakeNetns, netnsPath: string | undefined, operation: RtnetlinkOperation): Error | undefined {
    const intercepted = this.intercept?.(operation, netnsPath);
    if (intercepted) return intercepted;
    try {
      // What the codec refuses is refused here too.
      encodeOperation(new MessageWriter(), 1, operation, () => 0);
      this.#dispatch(netns, operation);
      this.applied.push({ netnsPath, operation });
      return undefined;
    } catch (error) {
      if (error instanceof Refusal) {
        return new KernelError(error.errno, messageName(messageTypeOf(operation)), describe(operation), error.extack);
      }
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  #dispatch(netns: FakeNetns, operation: RtnetlinkOperation): void {
    switch (operation.op) {
      case 'linkAddVeth': {
        const { netnsPath } = operation.peer;
        netns.linkAddVeth(operation, netnsPath === undefined ? netns : this.#existing(netnsPath, 'open').netns);
        break;
      }
      case 'linkAddBridge':
        netns.linkAddBridge(operation);
        break;
      case 'linkAddIfb':
        netns.linkAddIfb(operation);
        break;
      case 'linkAddVxlan':
        netns.linkAddVxlan(operation);
        break;
      case 'linkSet':
        netns.linkSet(operation);
        break;
      case 'linkDelete':
        netns.linkDelete(operation);
        break;
      case 'addressAdd':
        netns.addressAdd(operation);
        break;
      case 'addressDelete':
        netns.addressDelete(operation);
        break;
      case 'routeReplace':
        netns.routeReplace(operation);
        break;
      case 'routeDelete':
        netns.routeDelete(operation);
        break;
      case 'neighReplace':
        netns.neighReplace(operation);
        break;
      case 'neighDelete':
        netns.neighDelete(operation);
        break;
      case 'fdbReplace':
        netns.fdbReplace(operation);
        break;
      case 'fdbDelete':
        netns.fdbDelete(operation);
        break;
      case 'qdiscReplaceTbf':
      case 'qdiscAddIngress':
      case 'filterRedirect':
        netns.shape(operation);
        break;
    }
  }

  #existing(path: string | undefined, syscall: string): Namespace {
    const namespace = path === undefined ? this.#own : this.#byPath.get(path);
    if (!namespace) throw new KernelError(errno.ENOENT, syscall, `network namespace ${path}`);
    return namespace;
  }

  #collect(namespace: Namespace): void {
    if (!namespace.named && namespace.sockets === 0) namespace.netns.destroy();
  }
}

class FakeSocket implements Rtnetlink {
  readonly #netns: FakeNetns;
  readonly #applyOne: (operation: RtnetlinkOperation) => Error | undefined;
  readonly #onClose: () => void;
  #closed = false;

  constructor(netns: FakeNetns, applyOne: (operation: RtnetlinkOperation) => Error | undefined, onClose: () => void) {
    this.#netns = netns;
    this.#applyOne = applyOne;
    this.#onClose = onClose;
  }

  async apply(operations: readonly RtnetlinkOperation[]): Promise<(Error | undefined)[]> {
    this.#check('apply');
    return operations.map((operation) => this.#applyOne(operation));
  }

  async link(ref: LinkRef): Promise<Link | undefined> {
    this.#check('RTM_GETLINK');
    const link = this.#netns.find(ref);
    return link && toLink(link);
  }

  async links(): Promise<Link[]> {
    this.#check('RTM_GETLINK');
    return [...this.#netns.links.values()].map(toLink);
  }

  async addresses(): Promise<Address[]> {
    this.#check('RTM_GETADDR');
    return structuredClone(this.#netns.addresses);
  }

  async routes(filter?: { table?: number }): Promise<Route[]> {
    this.#check('RTM_GETROUTE');
    return structuredClone(this.#netns.routes.filter((route) => route.table === (filter?.table ?? 254)));
  }

  async neighbours(): Promise<Neighbour[]> {
    this.#check('RTM_GETNEIGH');
    return structuredClone(this.#netns.neighbours);
  }

  async forwardingEntries(ifindex: number): Promise<ForwardingEntry[]> {
    this.#check('RTM_GETNEIGH');
    return structuredClone(this.#netns.forwardingEntries.filter((entry) => entry.ifindex === ifindex));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
  }

  #check(syscall: string): void {
    if (this.#closed) throw new KernelError(9, syscall, 'closed rtnetlink socket');
  }
}

function groupOf(notification: RtnetlinkNotification): NotificationGroup | undefined {
  switch (notification.event) {
    case 'linkNew':
    case 'linkDelete':
      return 'link';
    case 'addressNew':
    case 'addressDelete':
      return notification.address.prefix.includes(':') ? 'address6' : 'address4';
    case 'routeNew':
    case 'routeDelete':
      return notification.route.destination.includes(':') ? 'route6' : 'route4';
    case 'neighNew':
    case 'neighDelete':
    case 'fdbNew':
    case 'fdbDelete':
      return 'neigh';
    case 'overrun':
      return undefined;
  }
}
