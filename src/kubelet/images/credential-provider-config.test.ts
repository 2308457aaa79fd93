import test from 'ava';
import fc from 'fast-check';
import { ConfigError } from '../../config/config-error.ts';
import { joinProviders, readCredentialProviders } from './credential-provider-config.ts';

const provider = {
  name: 'ecr',
  matchImages: ['*.dkr.ecr.*.amazonaws.com'],
  defaultCacheDuration: '12h',
  apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
};
const document = (...providers: object[]): string =>
  JSON.stringify({ apiVersion: 'kubelet.config.k8s.io/v1', kind: 'CredentialProviderConfig', providers });
const read = (text: string) => readCredentialProviders(text, 'providers.yaml');

test('a provider with everything that it may have', (t) => {
  const env = [{ name: 'AWS_PROFILE', value: 'pull' }];
  t.deepEqual(read(document({ ...provider, args: ['get-credentials'], env })), [
    {
      name: 'ecr',
      matchImages: ['*.dkr.ecr.*.amazonaws.com'],
      defaultCacheDurationMs: 12 * 3600 * 1000,
      apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
      args: ['get-credentials'],
      env,
    },
  ]);
});

test('YAML, several providers, older versions', (t) => {
  const text = `
apiVersion: kubelet.config.k8s.io/v1beta1
kind: CredentialProviderConfig
providers:
- name: a
  apiVersion: credentialprovider.kubelet.k8s.io/v1alpha1
  matchImages: [registry.example:5000/team]
  defaultCacheDuration: 0s
- name: b
  apiVersion: credentialprovider.kubelet.k8s.io/v1beta1
  matchImages: ["*.example"]
  defaultCacheDuration: 1m30s
`;
  t.like(read(text), [
    { name: 'a', defaultCacheDurationMs: 0 },
    { name: 'b', defaultCacheDurationMs: 90_000 },
  ]);
});

for (const [what, text, pattern] of [
  [
    'another kind',
    '{"apiVersion":"kubelet.config.k8s.io/v1","kind":"KubeletConfiguration"}',
    /CredentialProviderConfig/,
  ],
  ['another group', '{"apiVersion":"v1","kind":"CredentialProviderConfig"}', /apiVersion/],
  ['a list', '[]', /mapping/],
  ['nothing', '', /mapping/],
  ['no provider', document(), /at least one provider/],
  ['an unknown field', document({ ...provider, timeout: '5s' }), /unknown field/],
  ['no name', document({ ...provider, name: undefined }), /name is missing/],
  ['a name that leads elsewhere', document({ ...provider, name: '../../bin/sh' }), /slash/],
  ['the folder above', document({ ...provider, name: '..' }), /name of a program/],
  ['a name with a NUL', document({ ...provider, name: 'a\0b' }), /slash|NUL/],
  ['no patterns', document({ ...provider, matchImages: [] }), /at least one pattern/],
  ['a pattern that is no host', document({ ...provider, matchImages: ['https://r/'] }), /host/],
  ['a negative duration', document({ ...provider, defaultCacheDuration: '-1s' }), /defaultCacheDuration/],
  ['an unknown version', document({ ...provider, apiVersion: 'v1' }), /credentialprovider/],
  ['a variable without a name', document({ ...provider, env: [{ value: 'x' }] }), /name is missing/],
  [
    'a variable with an equals sign',
    document({ ...provider, env: [{ name: 'A=B', value: '' }] }),
    /environment variable/,
  ],
  ['service account tokens', document({ ...provider, tokenAttributes: { cacheType: 'Token' } }), /service accounts/],
] as const) {
  test(`refused: ${what}`, (t) => {
    const error = t.throws(() => read(text), { instanceOf: ConfigError });
    t.regex(error?.message ?? '', pattern);
  });
}

test('a name may stand once among all files', (t) => {
  const [one] = read(document(provider));
  t.is(joinProviders([{ file: 'a', providers: [one!] }]).length, 1);
  t.throws(
    () =>
      joinProviders([
        { file: 'a', providers: [one!] },
        { file: 'b', providers: [one!] },
      ]),
    { instanceOf: ConfigError, message: /"ecr" stands twice/ },
  );
});

test('no text makes it throw anything else', (t) => {
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    fc.json().map((json) => document(JSON.parse(json) as object)),
  );
  fc.assert(
    fc.property(text, (given) => {
      try {
        read(given);
      } catch (error) {
        t.true(error instanceof ConfigError, String(error));
      }
    }),
  );
  t.pass();
});
