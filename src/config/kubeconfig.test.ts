/** Tests of kubeconfig reading: what kubeadm, kubectl and people write. Layer: config. */
import test from 'ava';
import { ConfigError } from './config-error.ts';
import { type KubeconfigOptions, parseKubeconfig } from './kubeconfig.ts';

const pem = Buffer.from('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n').toString('base64');
const base = {
  cluster: `certificate-authority-data: ${pem}\n    server: https://10.0.0.1:6443`,
  user: 'token: abc.def',
};

function kubeconfig(parts: { cluster?: string; user?: string; context?: string; head?: string } = {}): string {
  return `${parts.head ?? 'apiVersion: v1\nkind: Config\ncurrent-context: here'}
clusters:
- name: c
  cluster:
    ${parts.cluster ?? base.cluster}
contexts:
- name: here
  context:
    ${parts.context ?? 'cluster: c\n    user: u'}
- name: other
  context: {cluster: c, user: plugin}
preferences: {}
users:
- name: plugin
  user: {exec: {command: aws}}
- name: u
  user:
    ${parts.user ?? base.user}
`;
}

const linesOf = (text: string, options?: KubeconfigOptions): string[] => {
  try {
    parseKubeconfig(text, '/etc/k/a.conf', options);
  } catch (error) {
    if (error instanceof ConfigError) return error.lines;
    throw error;
  }
  return [];
};

test('kubeadm writes: CA data, both PEM paths the rotating file', (t) => {
  const user =
    'client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n    client-key: pki/kubelet-client-current.pem';
  t.deepEqual(parseKubeconfig(kubeconfig({ user }), '/etc/kubernetes/kubelet.conf'), {
    file: '/etc/kubernetes/kubelet.conf',
    context: 'here',
    servers: ['https://10.0.0.1:6443'],
    insecureSkipTlsVerify: false,
    certificateAuthority: { data: Buffer.from(pem, 'base64').toString() },
    clientCertificate: {
      certificate: { file: '/var/lib/kubelet/pki/kubelet-client-current.pem' },
      key: { file: '/etc/kubernetes/pki/kubelet-client-current.pem' },
    },
  });
});

test('a token file wins over the token; paths of the server stay, its last slash does not', (t) => {
  const access = parseKubeconfig(
    kubeconfig({
      user: 'token: old\n    tokenFile: token',
      cluster:
        'server: https://rancher.example/k8s/clusters/c-1/\n    certificate-authority: ca.crt\n    tls-server-name: kubernetes',
    }),
    '/etc/k/a.conf',
  );
  t.deepEqual(access.token, { file: '/etc/k/token' });
  t.deepEqual(access.servers, ['https://rancher.example/k8s/clusters/c-1']);
  t.deepEqual(access.certificateAuthority, { file: '/etc/k/ca.crt' });
  t.is(access.tlsServerName, 'kubernetes');
});

test('further servers are added once each, and judged like the first', (t) => {
  const extraServers = ['https://10.0.0.2:6443/', 'https://10.0.0.1:6443', 'https://[fd00::1]:6443'];
  t.deepEqual(parseKubeconfig(kubeconfig(), '/a', { extraServers }).servers, [
    'https://10.0.0.1:6443',
    'https://10.0.0.2:6443',
    'https://[fd00::1]:6443',
  ]);
  t.deepEqual(linesOf(kubeconfig(), { extraServers: ['10.0.0.2:6443'] }), [
    'additional API server: "10.0.0.2:6443" is no address of an API server (write it as https://10.0.0.1:6443)',
  ]);
});

test('insecure servers need to be allowed', (t) => {
  const skip = kubeconfig({ cluster: 'server: https://10.0.0.1:6443\n    insecure-skip-tls-verify: true' });
  const plain = kubeconfig({ cluster: 'server: http://127.0.0.1:8001' });
  t.regex(linesOf(skip).join(), /insecure-skip-tls-verify.: would let anyone/);
  t.regex(linesOf(plain).join(), /server: http would send credentials in the clear/);
  t.true(parseKubeconfig(skip, '/a', { allowInsecure: true }).insecureSkipTlsVerify);
  t.deepEqual(parseKubeconfig(plain, '/a', { allowInsecure: true }).servers, ['http://127.0.0.1:8001']);
});

for (const [what, text, expected] of [
  ['empty', '', /is no kubeconfig: there is no mapping/],
  ['another kind', 'apiVersion: v1\nkind: Pod\n', /is no kubeconfig: apiVersion "v1", kind "Pod"/],
  ['no current context', kubeconfig({ head: 'kind: Config' }), /current-context.: is missing \(name one/],
  [
    'unknown context',
    kubeconfig({ head: 'current-context: hear' }),
    /"hear" is not in contexts \(did you mean here\?\)/,
  ],
  [
    'unknown user',
    kubeconfig({ context: 'cluster: c\n    user: w' }),
    /contexts\[0\].context.user: "w" is not in users/,
  ],
  [
    'unknown cluster',
    kubeconfig({ context: 'cluster: d\n    user: u' }),
    /"d" is not in clusters \(did you mean c\?\)/,
  ],
  ['no server', kubeconfig({ cluster: 'tls-server-name: x' }), /clusters\[0\].cluster.server: is missing/],
  ['a password in the address', kubeconfig({ cluster: 'server: https://a:b@c' }), /user name or password/],
  [
    'a proxy',
    kubeconfig({ cluster: `${base.cluster}\n    proxy-url: http://p` }),
    /proxy-url.: proxies are not supported/,
  ],
  [
    'two authorities',
    kubeconfig({ cluster: `${base.cluster}\n    certificate-authority: x` }),
    /together with certificate-authority-data/,
  ],
  [
    'an authority that is no PEM',
    kubeconfig({ cluster: 'server: https://c\n    certificate-authority-data: AAAA' }),
    /is not PEM in base64/,
  ],
  [
    'a misspelt field',
    kubeconfig({ cluster: 'server: https://c\n    certificate-authority-dta: AAAA' }),
    /did you mean certificate-authority-data\?/,
  ],
  [
    'a credential plugin',
    kubeconfig({ user: 'exec: {command: aws}' }),
    /users\[1\].user.exec: is not supported \(give client-certificate/,
  ],
  ['an auth provider', kubeconfig({ user: 'auth-provider: {name: gcp}' }), /auth-provider.: is not supported/],
  ['a password', kubeconfig({ user: 'username: a\n    password: b' }), /username: is not supported \(.*1\.19/],
  ['impersonation', kubeconfig({ user: 'token: a\n    as: root' }), /as: is not supported/],
  ['no credentials', kubeconfig({ user: 'extensions: []' }), /users\[1\].user: has no credentials/],
  ['a certificate without key', kubeconfig({ user: `client-certificate-data: ${pem}` }), /has no key/],
  ['a key without certificate', kubeconfig({ user: `client-key-data: ${pem}` }), /has no certificate/],
  ['a token with a line break', kubeconfig({ user: 'token: "a\\nb"' }), /has spaces or other characters/],
  [
    'a token that YAML reads as a number',
    kubeconfig({ user: 'token: 123456.789' }),
    /must be a string \(put the value in quotes\)/,
  ],
  ['lists of wrong type', 'current-context: a\ncontexts: {}\n', /contexts: must be a list/],
] as const) {
  test(`refused: ${what}`, (t) => {
    const lines = linesOf(text);
    t.regex(lines.join('\n'), expected);
    for (const line of lines) t.regex(line, /^\/etc\/k\/a\.conf:\d+:\d+: /);
  });
}

test('no message shows a secret', (t) => {
  const lines = linesOf(kubeconfig({ user: 'token: "se cret"\n    client-key-data: [hidden]\n    password: geheim' }));
  t.is(lines.length, 3);
  t.notRegex(lines.join(), /se cret|hidden|geheim/);
});
