/**
 * hostPorts as a part of a pod's start and end, and who has which, by name.
 * Layer: network/hostports. Must not change the kernel itself: host-ports.ts does.
 */
import type { LinkIdentity } from '../links/link-identity.ts';
import type { PodExtension, StartingPod } from '../links/pod-extension.ts';
import type { HostPorts } from './host-ports.ts';

export class PodPorts implements PodExtension {
  readonly #ports: HostPorts;
  /** Of pod links with ports: `namespace/name`. */
  readonly #names = new Map<string, string>();

  constructor(ports: HostPorts) {
    this.#ports = ports;
  }

  async beforeUp({ identity, addresses, wishes: { portMappings = [], pod } }: StartingPod): Promise<void> {
    if (portMappings.length === 0) return;
    if (pod !== undefined && pod.name !== '') this.#names.set(identity.key, `${pod.namespace}/${pod.name}`);
    const { key, hostName } = identity;
    await this.#ports.publish({ key, hostName, targets: addresses }, portMappings, (holder) => this.#nameOf(holder));
  }

  async afterGone({ key }: LinkIdentity): Promise<void> {
    this.#names.delete(key);
    await this.#ports.withdraw(key);
  }

  /** What the runtime says of pods that a former process started. */
  learn(containerID: string, pod: { namespace: string; name: string }): void {
    for (const holder of this.#ports.holders)
      if (holder.startsWith(`${containerID}/`)) this.#names.set(holder, `${pod.namespace}/${pod.name}`);
  }

  #nameOf(holder: string): string {
    const name = this.#names.get(holder);
    return name === undefined ? `container ${holder.slice(0, holder.indexOf('/'))}` : `pod ${name}`;
  }
}
