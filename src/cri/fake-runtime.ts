/**
 * A container runtime in memory: both CRI services with the states, refusals and events of real containerd, and hooks that
 * let a test make things happen. Nothing is run, written or connected; time is the injected clock's.
 * Layer: cri (test support, with its own tests). Must not be imported by production code.
 */
import { type Clock, systemClock } from '../base/clock.ts';
import type { CriError } from './cri-error.ts';
import { type FakeAuthCheck, type FakeImageSpec, FakeImages } from './fake-images.ts';
import { type FakeContainer, type FakeGeneration, FakePods, type FakeSandbox } from './fake-pods.ts';
import { type FailOptions, type FakeCall, type FakeMethod, FakeServer } from './fake-server.ts';
import { type FakeHooks, serveRuntime } from './fake-services.ts';
import { createServices } from './runtime-client.ts';
import type { ImageService, RuntimeService } from './service.ts';

export interface FakeRuntimeOptions {
  clock?: Clock;
  /** Which containerd to resemble; 1.7 when left out. 1.6 has no container events. */
  generation?: FakeGeneration;
}

export class FakeRuntime implements FakeHooks {
  readonly runtime: RuntimeService;
  readonly image: ImageService;
  readonly #server: FakeServer;
  readonly #images: FakeImages;
  readonly #pods: FakePods;

  onStop: FakeHooks['onStop'] = () => 143;
  onStart: FakeHooks['onStart'] = () => undefined;
  onExec: FakeHooks['onExec'] = () => ({ exitCode: 0 });
  memoryUsage: FakeHooks['memoryUsage'] = () => 0;
  cniDirectories = { binDir: '/opt/cni/bin', confDir: '/etc/cni/net.d' };

  constructor({ clock = systemClock, generation = '1.7' }: FakeRuntimeOptions = {}) {
    this.#server = new FakeServer(clock);
    this.#server.events = generation !== '1.6';
    this.#images = new FakeImages(this.#server);
    this.#pods = new FakePods(this.#server, this.#images, generation);
    const services = createServices(this.#server);
    this.runtime = services.runtime;
    this.image = services.image;
    serveRuntime(this.#server, this.#pods, generation, this);
  }

  /** Every call that reached the runtime, in order. Clear it with `calls.length = 0`. */
  get calls(): FakeCall[] {
    return this.#server.calls;
  }

  /** The records themselves, oldest first. */
  get sandboxes(): FakeSandbox[] {
    return [...this.#pods.sandboxes.values()];
  }

  get containers(): FakeContainer[] {
    return [...this.#pods.containers.values()];
  }

  /** Makes an image present on the node. */
  setImage(name: string, spec?: FakeImageSpec): void {
    this.#images.set(name, spec);
  }

  /** Makes an image pullable, for those whose credentials `accepts` likes. */
  offerImage(name: string, spec?: FakeImageSpec, accepts?: FakeAuthCheck): void {
    this.#images.offer(name, spec, accepts);
  }

  /** The next call (or `times` calls) of `method` fails with `error`. */
  failNext(method: FakeMethod, error: CriError, options?: FailOptions): void {
    this.#server.failNext(method, error, options);
  }

  /** The next call of `method` hangs until the returned function is called, its deadline passes or it is aborted. */
  holdNext(method: FakeMethod): () => void {
    return this.#server.holdNext(method);
  }

  /** The container's process ends by itself. Works while the runtime is down, too: then no event tells of it. */
  exitContainer(id: string, exitCode: number, reason?: string): void {
    const container = this.#pods.container('exitContainer', id);
    if (container.state !== 'CONTAINER_RUNNING') throw new Error(`fake container ${id} is ${container.state}`);
    this.#pods.exit(container, exitCode, reason);
  }

  /** The sandbox's pause process dies; its containers run on, as with a shared PID namespace off. */
  exitSandbox(id: string): void {
    const sandbox = this.#pods.sandbox('exitSandbox', id);
    this.#pods.sandboxExited(sandbox);
  }

  /** The runtime dies: calls and streams fail with CRI_UNAVAILABLE. Its containers live on. */
  goDown(): void {
    this.#server.goDown();
  }

  comeBack(): void {
    this.#server.comeBack();
  }

  /** Off: GetContainerEvents answers UNIMPLEMENTED, as containerd 1.6 does. */
  setContainerEvents(on: boolean): void {
    this.#server.events = on;
  }

  /** Off: Status says NetworkReady false, and only host-network sandboxes start. */
  setNetworkReady(ready: boolean): void {
    this.#pods.networkReady = ready;
  }

  /** How many event streams are being read. */
  get eventReaders(): number {
    return this.#server.subscriberCount;
  }
}
