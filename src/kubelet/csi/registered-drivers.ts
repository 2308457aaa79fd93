/**
 * The CSI drivers that are registered on this node, by name.
 * Layer: kubelet/csi (state in memory). A restarted daemon learns them anew from their registration sockets.
 */
import { CsiError } from './csi-error.ts';
import type { CsiNodeService } from './node-service.ts';

export interface RegisteredDriver {
  readonly name: string;
  readonly endpoint: string;
  /** Highest CSI version that it speaks, `[1, 5, 0]`. */
  readonly version: readonly number[];
  /** Where it registered. */
  readonly socketPath: string;
  readonly service: CsiNodeService;
}

export class RegisteredDrivers {
  readonly #drivers = new Map<string, RegisteredDriver>();
  readonly #listeners = new Set<(name: string) => void>();

  get(name: string): RegisteredDriver | undefined {
    return this.#drivers.get(name);
  }

  /** @throws CsiError CSI_DRIVER_MISSING */
  required(name: string): RegisteredDriver {
    const driver = this.#drivers.get(name);
    if (driver !== undefined) return driver;
    throw new CsiError('CSI_DRIVER_MISSING', `driver name ${name} not found in the list of registered CSI drivers`, {
      object: `CSI driver ${name}`,
      driver: name,
      fix: "check that the driver's pod on this node runs, and that its registrar registered it",
    });
  }

  names(): string[] {
    return [...this.#drivers.keys()];
  }

  /** Closes the connection to a predecessor. */
  set(driver: RegisteredDriver): void {
    this.#drivers.get(driver.name)?.service.close();
    this.#drivers.set(driver.name, driver);
    for (const listener of this.#listeners) listener(driver.name);
  }

  delete(name: string): void {
    this.#drivers.get(name)?.service.close();
    this.#drivers.delete(name);
  }

  /** Told the name of each driver that is registered from now on. */
  onRegistered(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    for (const name of this.names()) this.delete(name);
  }
}
