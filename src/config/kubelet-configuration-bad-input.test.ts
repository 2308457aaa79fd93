/** KubeletConfiguration, bad files: each gets its lines with file, line, column and field, and nothing is taken. */
import test from 'ava';
import fc from 'fast-check';
import { ConfigError } from './config-error.ts';
import { loadKubeletConfiguration } from './kubelet-configuration.ts';

const head = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';

function failure(text: string): ConfigError {
  try {
    loadKubeletConfiguration(text, 'k.yaml');
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error(`taken: ${text}`);
}

const lines = (body: string) => failure(head + body).lines;

test('syntax', (t) => {
  t.is(failure(`${head}maxPods: [1`).code, 'CONFIG_SYNTAX');
  t.regex(lines('maxPods: [1')[0] ?? '', /^k\.yaml:3:\d+: /);
  t.regex(lines('a: b: c')[0] ?? '', /^k\.yaml:3:4: Nested mappings/);
  t.regex(lines('\tmaxPods: 1')[0] ?? '', /^k\.yaml:3:1: .*[Tt]ab/);
  t.regex(lines('maxPods: "1')[0] ?? '', /^k\.yaml:3:\d+: /);
  t.is(failure('{"apiVersion": "x", }}').code, 'CONFIG_SYNTAX');
  t.regex(lines('clusterDNS: *nowhere')[0] ?? '', /^k\.yaml:\d+:\d+: .*nowhere/);
  t.regex(lines('maxPods: !!foo 3')[0] ?? '', /^k\.yaml:3:10: /);
  for (const line of lines('maxPods: [1\nx: "y')) t.false(line.includes('\n'));
});

test('a duplicate key', (t) => {
  t.deepEqual(lines('maxPods: 1\nmaxPods: 2'), ['k.yaml:4:1: the key stands twice in the same mapping']);
});

test('more than one document', (t) => {
  t.deepEqual(lines(`---\n${head}`), [
    'k.yaml:3:1: a second document begins here (keep one document and move the others to files of their own)',
  ]);
});

test('too large', (t) => {
  const error = failure(`${head}# ${'x'.repeat(1024 * 1024)}`);
  t.is(error.code, 'CONFIG_TOO_LARGE');
  t.regex(error.lines[0] ?? '', /^k\.yaml: the file has \d+ bytes, more than the limit of 1048576/);
});

test('too many tokens, however small the file is', (t) => {
  for (const text of ['['.repeat(200_000), `x: [${','.repeat(200_000)}`, '---\na: 1\n'.repeat(50_000)]) {
    const error = failure(head + text);
    t.is(error.code, 'CONFIG_TOO_LARGE');
    t.deepEqual(error.lines, ['k.yaml: the file has more than 100000 YAML tokens (check that it is the right file)']);
  }
});

test('aliases that multiply', (t) => {
  const levels = 'abcdefghi'.split('');
  const bomb = levels.map(
    (name, i) =>
      `${name}: &${name} [${Array(9)
        .fill(i === 0 ? 'x' : `*${levels[i - 1]}`)
        .join(',')}]`,
  );
  t.is(failure(head + bomb.join('\n')).code, 'CONFIG_SYNTAX');
  t.deepEqual(lines('maxPods: &a [*a]'), ['k.yaml:3:14: the alias *a stands inside what it refers to']);
});

test('wrong kind or apiVersion', (t) => {
  t.deepEqual(failure('apiVersion: v1\nkind: Pod\nspec: {}').lines, [
    'k.yaml:1:1: apiVersion: must be kubelet.config.k8s.io/v1beta1, not "v1" (write apiVersion: kubelet.config.k8s.io/v1beta1)',
    'k.yaml:2:1: kind: must be KubeletConfiguration, not "Pod" (write kind: KubeletConfiguration)',
  ]);
  t.regex(failure('kind: KubeletConfiguration').lines[0] ?? '', /apiVersion: is missing/);
  t.is(failure('').code, 'CONFIG_KIND');
  t.regex(failure('# nothing\n---\n').lines[0] ?? '', /^k\.yaml:1:1: the file is empty \(begin it with/);
  t.regex(failure('- a\n- b').lines[0] ?? '', /must be a mapping/);
  t.regex(failure('just text').lines[0] ?? '', /must be a mapping/);
  t.is(failure('apiVersion: [1]\nkind: {}').code, 'CONFIG_KIND');
});

test('unknown fields, with what was meant', (t) => {
  const cases: [string, string][] = [
    ['maxPdos: 3', 'k.yaml:3:1: maxPdos: unknown field (did you mean maxPods?)'],
    ['MaxPods: 3', 'k.yaml:3:1: MaxPods: unknown field (did you mean maxPods?)'],
    ['clusterDns: []', 'k.yaml:3:1: clusterDns: unknown field (did you mean clusterDNS?)'],
    ['banana: 3', 'k.yaml:3:1: banana: unknown field (remove it)'],
    ['nodeIP: 1.2.3.4', 'k.yaml:3:1: nodeIP: unknown field (use the flag --node-ip)'],
    ['logging:\n  verbose: 3', 'k.yaml:4:3: logging.verbose: unknown field (did you mean logging.verbosity?)'],
    [
      'maxContainerRestartPeriod: 3s',
      'k.yaml:3:1: maxContainerRestartPeriod: unknown field (did you mean crashLoopBackOff.maxContainerRestartPeriod?)',
    ],
    [
      'registerWithTaints: [{key: a, effect: NoSchedule, valeu: b}]',
      'k.yaml:3:51: registerWithTaints[0].valeu: unknown field (did you mean value?)',
    ],
    ['"logging.verbosity": 3', 'k.yaml:3:1: [logging.verbosity]: must be nested (write logging: {verbosity: ...})'],
    ['__proto__: 3', 'k.yaml:3:1: [__proto__]: unknown field (remove it)'],
  ];
  for (const [body, line] of cases) t.deepEqual(lines(body), [line], body);
  t.is(failure(`${head}maxPdos: 3`).code, 'CONFIG_UNKNOWN_FIELD');
});

test('wrong types', (t) => {
  const cases: [string, RegExp][] = [
    ['maxPods: "10"', /maxPods: must be a whole number, not "10"/],
    ['maxPods: 1.5', /must be a whole number/],
    ['maxPods: .nan', /must be a whole number/],
    ['maxPods: {}', /must be a whole number/],
    ['seccompDefault: "true"', /must be true or false, not "true" \(write true or false without quotes\)/],
    ['clusterDomain: yes', /must be a string, not true \(put the value in quotes\)/],
    ['clusterDNS: 10.96.0.10', /must be a list/],
    ['clusterDNS: [1]', /clusterDNS\[0\]: must be a string, not 1/],
    ['logging: 4', /logging: must be a mapping/],
    ['featureGates: [A]', /must be a mapping/],
    ['featureGates: {ImageVolume: "yes"}', /featureGates\.ImageVolume: must be true or false/],
    ['syncFrequency: 10', /must be a duration string, not 10 \(write it with a unit/],
    ['evictionHard: {memory.available: 100}', /evictionHard\[memory\.available\]: must be a quantity string/],
    ['reservedMemory: [{numaNode: 0}]', /reservedMemory\[0\]: limits is missing/],
  ];
  for (const [body, pattern] of cases) t.regex(lines(body).join('|'), pattern, body);
});

test('bad values', (t) => {
  const cases: [string, RegExp][] = [
    ['maxPods: -1', /maxPods: must be 0 or more, not -1/],
    ['maxPods: 9999999999', /must be 2147483647 or less|0 or more/],
    ['port: 65536', /between 0 and 65535/],
    ['readOnlyPort: 10250', /readOnlyPort: must not be the port of the API/],
    ['tlsCertFile: /a.crt', /tlsCertFile: needs tlsPrivateKeyFile/],
    ['tlsMinVersion: TLS1.2', /must be one of VersionTLS10, VersionTLS11, VersionTLS12, VersionTLS13/],
    ['tlsCipherSuites: [TLS_RSA_WITH_RC4_128_SHA]', /tlsCipherSuites\[0\]: .*is no cipher suite that can be used/],
    ['tlsCurvePreferences: [30]', /tlsCurvePreferences\[0\]: must be one of 23 \(P-256\)/],
    ['authorization: {mode: RBAC}', /must be one of AlwaysAllow, Webhook/],
    ['registryPullQPS: -5', /0 or more/],
    ['oomScoreAdj: -1001', /between -1000 and 1000/],
    ['syncFrequency: -1s', /must be 0s or more, not -1s/],
    ['syncFrequency: 1 minute', /CONFIG|is not a duration: unknown unit " minute"/],
    ['syncFrequency: ""', /is not a duration: it is empty/],
    ['cpuCFSQuotaPeriod: 2s', /between 1ms and 1s/],
    ['cpuCFSQuotaPeriod: 10us', /between 1ms and 1s, inclusive, not 10µs/],
    ['crashLoopBackOff: {maxContainerRestartPeriod: 0s}', /between 1s and 5m0s/],
    ['containerLogMaxSize: 10MB', /is not a quantity: unknown suffix "MB"/],
    ['containerLogMaxFiles: 1', /2 or more/],
    ['kubeReserved: {gpu: "1"}', /kubeReserved\.gpu: cannot be reserved/],
    ['kubeReserved: {cpu: "-1"}', /must not be negative/],
    ['evictionHard: {disk.free: 10%}', /evictionHard\[disk\.free\]: must be one of/],
    ['evictionHard: {memory.available: 110%}', /percentage from 0% to 100%/],
    ['evictionHard: {memory.available: x%}', /percentage from 0% to 100%/],
    ['clusterDNS: [10.96.0.300]', /clusterDNS\[0\]: "10\.96\.0\.300" is not an IP address/],
    ['clusterDomain: Cluster_Local', /lower case/],
    ['cgroupDriver: dockerfs', /must be one of cgroupfs, systemd/],
    ['containerRuntimeEndpoint: tcp://1.2.3.4:5', /must be a unix socket \(write it like unix:/],
    ['containerRuntimeEndpoint: containerd.sock', /must be a unix socket/],
    [`containerRuntimeEndpoint: unix:///${'x'.repeat(120)}`, /more than 107 bytes/],
    ['podCIDR: 10.1.2.3/16', /host bits set; write 10\.1\.0\.0\/16/],
    ['podLogsDir: var/log', /must be an absolute path/],
    ['podLogsDir: /var/log/pods/', /must be normalised: \/var\/log\/pods/],
    ['podLogsDir: /var/../log', /must not contain '\.\.'/],
    ['staticPodPath: manifests', /must be an absolute path/],
    ['registerWithTaints: [{key: a b, effect: NoExecute}]', /registerWithTaints\[0\]\.key/],
    ['registerWithTaints: [{effect: NoSchedule}]', /key is missing/],
    ['registerWithTaints: [{key: a}]', /registerWithTaints\[0\]: effect is missing/],
    ['reservedSystemCPUs: 3-1', /is not a CPU list/],
    ['userNamespaces: {idsPerPod: 65537}', /multiple of 65536/],
    ['logging: {format: xml}', /must be one of text, json/],
    ['memoryThrottlingFactor: 1.5', /more than 0 and at most 1/],
  ];
  for (const [body, pattern] of cases) {
    const found = lines(body);
    t.is(found.length, 1, `${body}: ${found.join('|')}`);
    t.regex(found[0] ?? '', pattern, body);
    t.regex(found[0] ?? '', /^k\.yaml:3:\d+: /, body);
  }
});

test('rules between fields', (t) => {
  const cases: [string, RegExp][] = [
    ['imageGCLowThresholdPercent: 90', /imageGCLowThresholdPercent: .*must be less than/],
    ['imageGCHighThresholdPercent: 70', /imageGCHighThresholdPercent: .*must be less than/],
    ['imageMaximumGCAge: 1m', /greater than imageMinimumGCAge/],
    ['serializeImagePulls: true\nmaxParallelImagePulls: 2', /cannot be above 1/],
    ['preloadedImagesVerificationAllowlist: [a]', /needs imagePullCredentialsVerificationPolicy/],
    ['systemCgroups: /system', /needs cgroupRoot/],
    ['evictionSoft: {memory.available: 1Gi}', /has no grace period/],
    ['shutdownGracePeriodCriticalPods: 10s', /must not be longer/],
    ['shutdownGracePeriod: 100ms', /0s or at least 1s/],
    ['cgroupsPerQOS: false\nenforceNodeAllocatable: [pods]', /must be empty or none/],
    [
      'enforceNodeAllocatable: [system-reserved]',
      /system-reserved needs systemReservedCgroup .*needs systemReserved /s,
    ],
    [
      'kubeReserved: {cpu: "1"}\nkubeReservedCgroup: /k\nenforceNodeAllocatable: [kube-reserved, kube-reserved-compressible]',
      /kube-reserved and kube-reserved-compressible cannot be listed together/,
    ],
    ['kubeReservedCgroup: /k\nenforceNodeAllocatable: [kube-reserved-compressible]', /needs kubeReserved /],
    ['cgroupRoot: ../x', /must be an absolute path|must start with/],
    ['enableSystemLogQuery: true\nenableSystemLogHandler: false', /needs enableSystemLogHandler/],
    ['memoryReservationPolicy: TieredReservation', /needs the feature gate MemoryQoS/],
    ['reservedMemory: [{numaNode: 0, limits: {memory: 0}}]', /reservedMemory\[0\]\.limits\.memory: must not be zero/],
    ['registerWithTaints: [{key: a, effect: NoExecute, timeAdded: x}]', /timeAdded: must not be set/],
    ['registerWithTaints: [{key: a, effect: ""}]', /registerWithTaints\[0\]\.effect: must be one of NoSchedule/],
    ['registerWithTaints: [{key: "", effect: NoExecute}]', /registerWithTaints\[0\]\.key: must not be empty/],
  ];
  for (const [body, pattern] of cases) t.regex(lines(body).join('|'), pattern, body);
});

test('what would be dangerous to ignore is refused, with the way out', (t) => {
  const cases: [string, RegExp][] = [
    ['cpuManagerPolicy: static', /^k\.yaml:3:1: cpuManagerPolicy: static cannot be used.*set it to none\)$/],
    ['memoryManagerPolicy: Static', /set it to None/],
    ['topologyManagerPolicy: best-effort', /set it to none/],
    ['imagePullCredentialsVerificationPolicy: AlwaysVerify', /set it to NeverVerifyPreloadedImages/],
    ['runOnce: true', /set it to false/],
  ];
  for (const [body, pattern] of cases) {
    const error = failure(head + body);
    t.is(error.code, 'CONFIG_UNSUPPORTED', body);
    t.regex(error.lines.join('|'), pattern, body);
  }
});

test('all problems of a file are reported together, in its order', (t) => {
  const error = failure(
    `${head}maxPods: -1\nsyncFrequency: soon\nbanana: 1\nlogging:\n  verbosity: x\ncpuManagerPolicy: static\n`,
  );
  t.is(error.code, 'CONFIG_INVALID');
  t.deepEqual(
    error.problems.map(({ code, line, column, field }) => [code, line, column, field]),
    [
      ['CONFIG_VALUE', 3, 1, 'maxPods'],
      ['CONFIG_DURATION', 4, 1, 'syncFrequency'],
      ['CONFIG_UNKNOWN_FIELD', 5, 1, 'banana'],
      ['CONFIG_TYPE', 7, 3, 'logging.verbosity'],
      ['CONFIG_UNSUPPORTED', 8, 1, 'cpuManagerPolicy'],
    ],
  );
});

test('any text is taken or refused with a ConfigError', (t) => {
  const value = fc.oneof(fc.string(), fc.json(), fc.constantFrom('1', '-1', '1s', '[]', '{}', '*a', '&a b', '"', '~'));
  const key = fc.oneof(
    fc.constantFrom('maxPods', 'logging', 'clusterDNS', 'featureGates', 'evictionHard'),
    fc.string(),
  );
  const texts = fc.array(fc.tuple(key, value)).map((pairs) => head + pairs.map(([k, v]) => `${k}: ${v}`).join('\n'));
  fc.assert(
    fc.property(fc.oneof(texts, fc.string()), (text) => {
      try {
        return loadKubeletConfiguration(text, 'k').config.maxPods >= 0;
      } catch (error) {
        return (
          error instanceof ConfigError && error.lines.length > 0 && error.lines.every((line) => !line.includes('\n'))
        );
      }
    }),
    { numRuns: 1000 },
  );
  t.pass();
});

test('hostile files are refused quickly', (t) => {
  const started = performance.now();
  t.regex(lines(`maxPods: ${'['.repeat(90_000)}`)[0] ?? '', /the nesting is too deep/);
  const many = Array.from({ length: 10_000 }, (_, index) => `k${index}: 1`).join('\n');
  t.is(lines(many).length, 100);
  t.regex(lines(`maxPods: &a 1\nclusterDNS: [${'*a,'.repeat(30_000)}]`)[0] ?? '', /must be a string|aliases make/);
  // Quadratic work on either took over a minute.
  t.true(performance.now() - started < 20_000);
});
