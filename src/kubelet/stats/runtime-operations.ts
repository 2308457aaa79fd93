/**
 * Counts the calls to the container runtime by the kubelet's names for them, with their failures and durations.
 * Layer: kubelet/stats. A wrapper around the CRI services: an entry in a map a call, nothing else; the event stream
 * passes as it is. Names: pkg/kubelet/kuberuntime/instrumented_services.go.
 */
import type { ImageService, RuntimeService } from '../../cri/service.ts';
import { Counter, Histogram, type Registry } from '../../observe/metrics.ts';

type CallName = Exclude<keyof RuntimeService, 'getContainerEvents'> | keyof ImageService;

const operationTypes: Readonly<Record<CallName, string>> = {
  version: 'version',
  status: 'status',
  runtimeConfig: 'runtime_config',
  updateRuntimeConfig: 'update_runtime_config',
  runPodSandbox: 'run_podsandbox',
  stopPodSandbox: 'stop_podsandbox',
  removePodSandbox: 'remove_podsandbox',
  podSandboxStatus: 'podsandbox_status',
  listPodSandbox: 'list_podsandbox',
  createContainer: 'create_container',
  startContainer: 'start_container',
  stopContainer: 'stop_container',
  removeContainer: 'remove_container',
  listContainers: 'list_containers',
  containerStatus: 'container_status',
  updateContainerResources: 'update_container',
  updatePodSandboxResources: 'update_podsandbox',
  reopenContainerLog: 'reopen_container_log',
  execSync: 'exec_sync',
  exec: 'exec',
  attach: 'attach',
  portForward: 'port_forward',
  containerStats: 'container_stats',
  listContainerStats: 'list_container_stats',
  podSandboxStats: 'podsandbox_stats',
  listPodSandboxStats: 'list_podsandbox_stats',
  checkpointContainer: 'checkpoint_container',
  listImages: 'list_images',
  imageStatus: 'image_status',
  pullImage: 'pull_image',
  removeImage: 'remove_image',
  imageFsInfo: 'image_fs_info',
};

/** prometheus.ExponentialBuckets(0.005, 2.5, 14) */
const durationBuckets = Array.from({ length: 14 }, (_, power) => 0.005 * 2.5 ** power);

type AnyCall = (...args: unknown[]) => Promise<unknown>;

export class RuntimeOperations {
  readonly #total: Counter;
  readonly #errors: Counter;
  readonly #duration: Histogram;

  constructor(registry: Registry) {
    const labelNames = ['operation_type'];
    const registers = [registry];
    this.#total = new Counter({
      name: 'kubelet_runtime_operations_total',
      help: 'Calls to the container runtime by kind.',
      labelNames,
      registers,
    });
    this.#errors = new Counter({
      name: 'kubelet_runtime_operations_errors_total',
      help: 'Calls to the container runtime that failed, by kind.',
      labelNames,
      registers,
    });
    this.#duration = new Histogram({
      name: 'kubelet_runtime_operations_duration_seconds',
      help: 'What calls to the container runtime took, in seconds, by kind.',
      labelNames,
      buckets: durationBuckets,
      registers,
    });
  }

  /** The same service, counted. */
  counted<Service extends RuntimeService | ImageService>(service: Service): Service {
    const counted: Service = { ...service };
    for (const [name, operation] of Object.entries(operationTypes)) {
      if (!Object.hasOwn(service, name)) continue;
      const call = (service as unknown as Record<string, AnyCall>)[name];
      if (call !== undefined) Object.assign(counted, { [name]: this.#count(operation, call) });
    }
    return counted;
  }

  #count(operation: string, call: AnyCall): AnyCall {
    const labels = { operation_type: operation };
    return async (...args) => {
      const startedMs = performance.now();
      this.#total.inc(labels);
      try {
        return await call(...args);
      } catch (error) {
        this.#errors.inc(labels);
        throw error;
      } finally {
        this.#duration.observe(labels, (performance.now() - startedMs) / 1000);
      }
    };
  }
}
