import test from 'ava';
import { parseQuantity } from '../../config/quantity.ts';
import { evictionThresholds } from './eviction-thresholds.ts';
import { defaultEvictionHard } from './node-facts.fake.ts';
import { type MachineCapacity, nodeResources, type ResourceSettings } from './node-resources.ts';

const machine: MachineCapacity = {
  cores: 4,
  memoryBytes: 8_000_000 * 1024,
  ephemeralStorageBytes: 61_255_492 * 1024,
  hugePages: [
    { pageBytes: 1024 ** 3, pages: 1 },
    { pageBytes: 2 * 1024 ** 2, pages: 0 },
  ],
};
const settings: ResourceSettings = {
  maxPods: 110,
  podsPerCore: 0,
  systemReserved: new Map([
    ['cpu', parseQuantity('200m')],
    ['memory', parseQuantity('1Gi')],
    ['pid', parseQuantity('1000')],
  ]),
  kubeReserved: new Map([
    ['cpu', parseQuantity('100m')],
    ['memory', parseQuantity('100M')],
    ['ephemeral-storage', parseQuantity('1Gi')],
  ]),
  evictionHard: evictionThresholds({ evictionHard: defaultEvictionHard }),
};

test('capacity in the forms of the kubelet', (t) => {
  t.deepEqual(nodeResources(machine, settings).capacity, {
    cpu: '4',
    memory: '8000000Ki',
    'ephemeral-storage': '61255492Ki',
    'hugepages-1Gi': '1Gi',
    'hugepages-2Mi': '0',
    pods: '110',
  });
});

test('allocatable is capacity less both reservations, hard eviction and huge pages', (t) => {
  const memory = 8_000_000 * 1024 - 1024 ** 3 - 100_000_000 - 100 * 1024 ** 2 - 1024 ** 3;
  t.deepEqual(nodeResources(machine, settings).allocatable, {
    cpu: '3700m',
    memory: String(memory),
    'ephemeral-storage': String(56_453_061_334 - 1024 ** 3),
    'hugepages-1Gi': '1Gi',
    'hugepages-2Mi': '0',
    pods: '110',
  });
});

test('nothing becomes negative', (t) => {
  const tiny = { ...machine, cores: 0, memoryBytes: 1024, ephemeralStorageBytes: 0 };
  const { allocatable } = nodeResources(tiny, settings);
  t.is(allocatable.cpu, '0');
  t.is(allocatable.memory, '0');
  t.is(allocatable['ephemeral-storage'], '0');
});

test('podsPerCore limits below maxPods only', (t) => {
  t.is(nodeResources(machine, { ...settings, podsPerCore: 10 }).capacity.pods, '40');
  t.is(nodeResources(machine, { ...settings, podsPerCore: 100 }).capacity.pods, '110');
});

test('extended resources stay, huge pages of a size that is gone go, what cannot be read keeps its value', (t) => {
  const previous = {
    capacity: { 'example.com/gpu': '2', 'hugepages-32Mi': '64Mi', memory: '4Gi', cpu: '9' },
    allocatable: { 'example.com/gpu': '1', 'hugepages-32Mi': '64Mi' },
  };
  const { capacity, allocatable } = nodeResources({ ...machine, memoryBytes: undefined }, settings, previous);
  t.is(capacity['example.com/gpu'], '2');
  t.is(allocatable['example.com/gpu'], '2');
  t.false('hugepages-32Mi' in capacity);
  t.false('hugepages-32Mi' in allocatable);
  t.is(capacity.memory, '4Gi');
  t.is(capacity.cpu, '4');
});

test('an equal amount keeps the text that the API server has', (t) => {
  const { capacity } = nodeResources(machine, settings, { capacity: { cpu: '4000m', memory: '8192000000' } });
  t.is(capacity.cpu, '4000m');
  t.is(capacity.memory, '8192000000');
});
