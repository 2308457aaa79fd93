import test from 'ava';
import fc from 'fast-check';
import { FakeRuntime } from '../cri/fake-runtime.ts';
import type * as cri from '../cri/messages.generated.ts';
import { readRuntimeFacts, runtimeFacts } from './runtime-facts.ts';

const response = (config: unknown, conditions: Partial<cri.RuntimeCondition>[] = []): cri.StatusResponse => ({
  status: {
    conditions: conditions.map((each) => ({ type: '', status: false, reason: '', message: '', ...each })),
  },
  info: config === undefined ? {} : { config: typeof config === 'string' ? config : JSON.stringify(config) },
  runtimeHandlers: [],
  features: undefined,
});

for (const generation of ['1.6', '1.7', '2.1'] as const) {
  test(`containerd ${generation} tells its CNI directories`, async (t) => {
    const fake = new FakeRuntime({ generation });
    fake.cniDirectories = { binDir: '/usr/lib/cni', confDir: '/etc/cni/keelson' };
    t.like(await readRuntimeFacts(fake.runtime), {
      cniBinDir: '/usr/lib/cni',
      cniConfDir: '/etc/cni/keelson',
      runtimeReady: true,
      networkReady: true,
      complaints: [],
    });
  });
}

test("a network that is not ready complains in the runtime's words", async (t) => {
  const fake = new FakeRuntime();
  fake.setNetworkReady(false);
  t.like(await readRuntimeFacts(fake.runtime), {
    runtimeReady: true,
    networkReady: false,
    complaints: ['NetworkReady: cni plugin not initialized'],
  });
});

for (const [what, config, expected] of [
  ['nothing', undefined, {}],
  ['no JSON', 'config: toml', {}],
  ['a list', [1], {}],
  ['null', null, {}],
  ['no cni', { other: 1 }, {}],
  ['cni of another type', { cni: 'x' }, {}],
  ['relative paths', { cni: { binDir: 'opt/cni', confDir: '' } }, {}],
  ['numbers', { cni: { binDir: 5, confDir: ['/x'] } }, {}],
  ['several directories, the first counts', { cni: { binDirs: ['/a', '/b'] } }, { cniBinDir: '/a' }],
  ['one before several', { cni: { binDir: '/one', binDirs: ['/a'] } }, { cniBinDir: '/one' }],
  ['an empty one before several', { cni: { binDir: '', binDirs: ['/a'] } }, { cniBinDir: '/a' }],
  ['no several', { cni: { binDirs: [] } }, {}],
  ['a restricted score', { restrictOOMScoreAdj: true }, { restrictsOomScoreAdj: true }],
  ['a score by word', { restrictOOMScoreAdj: 'true' }, {}],
] as [string, unknown, object][]) {
  test(`the info of a runtime: ${what}`, (t) => {
    const nothing = { cniConfDir: undefined, cniBinDir: undefined, restrictsOomScoreAdj: undefined };
    t.like(runtimeFacts(response(config)), { ...nothing, ...expected });
  });
}

test('without a status nothing is ready', (t) => {
  t.like(runtimeFacts({ ...response(undefined), status: undefined }), { runtimeReady: false, networkReady: false });
  t.like(runtimeFacts(response(undefined, [{ type: 'RuntimeReady', status: true }])), {
    runtimeReady: true,
    networkReady: false,
  });
});

test('whatever the info says, it is read without an error and gives absolute paths only', (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), (config) => {
      const { cniBinDir, cniConfDir } = runtimeFacts(response(config));
      return [cniBinDir, cniConfDir].every((path) => path === undefined || path.startsWith('/'));
    }),
  );
  t.pass();
});
