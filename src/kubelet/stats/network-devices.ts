/**
 * The counters of the network devices of one network namespace, from the text of /proc/PID/net/dev.
 * Layer: kubelet/stats (pure). Source: proc_pid_net(5); which devices count: cadvisor's libcontainer handler.
 */

export interface NetworkDevice {
  readonly name: string;
  readonly receive: NetworkCounters;
  readonly transmit: NetworkCounters;
}

export interface NetworkCounters {
  readonly bytes: number;
  readonly packets: number;
  readonly errors: number;
  readonly dropped: number;
}

/** Loopback, and one end of each pod's pair: it would count the pod's traffic once more. */
const left = /^(?:lo$|veth|docker|nerdctl)/;

export function parseNetworkDevices(text: string): NetworkDevice[] {
  const devices: NetworkDevice[] = [];
  for (const line of text.split('\n')) {
    // A device's name may hold a colon, its counters cannot.
    const colon = line.lastIndexOf(':');
    if (colon < 0) continue;
    const name = line.slice(0, colon).trim();
    const counts = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    if (left.test(name) || counts.length < 16 || counts.some(Number.isNaN)) continue;
    const counters = (at: number): NetworkCounters => ({
      bytes: counts[at] ?? 0,
      packets: counts[at + 1] ?? 0,
      errors: counts[at + 2] ?? 0,
      dropped: counts[at + 3] ?? 0,
    });
    devices.push({ name, receive: counters(0), transmit: counters(8) });
  }
  return devices;
}
