import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { Registry } from '../../observe/metrics.ts';
import { type MeasuredRotation, measureClientCertificate, measureServingCertificate } from './certificate-metrics.ts';
import type { RotationListener } from './rotation-trouble.ts';

function fakeRotation() {
  const state = { notAfterMs: undefined as number | undefined, failures: 0 };
  let listener: RotationListener = {};
  const rotation: MeasuredRotation = {
    get status() {
      return { notAfterMs: state.notAfterMs, isValid: true, renewAtMs: undefined, trouble: undefined };
    },
    get failures() {
      return state.failures;
    },
    listen(one) {
      listener = one;
      return () => undefined;
    },
  };
  return { state, rotation, rotated: (livedMs: number) => listener.rotated?.(livedMs) };
}

const valuesOf = async (registry: Registry): Promise<string[]> =>
  (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));

test('the client certificate: what is left of it, and tries that failed', async (t) => {
  const registry = new Registry();
  const clock = new FakeClock();
  const { state, rotation } = fakeRotation();
  measureClientCertificate(registry, rotation, clock);
  t.deepEqual(await valuesOf(registry), [
    'kubelet_certificate_manager_client_ttl_seconds +Inf',
    'kubelet_certificate_manager_client_expiration_renew_errors 0',
  ]);
  Object.assign(state, { notAfterMs: clock.now() + 3_600_900, failures: 2 });
  t.deepEqual(await valuesOf(registry), [
    'kubelet_certificate_manager_client_ttl_seconds 3600',
    'kubelet_certificate_manager_client_expiration_renew_errors 2',
  ]);
  await clock.advance(3_605_000);
  t.is((await valuesOf(registry))[0], 'kubelet_certificate_manager_client_ttl_seconds -4');
});

test('the serving certificate: also how long the former ones lived', async (t) => {
  const registry = new Registry();
  const clock = new FakeClock();
  const { state, rotation, rotated } = fakeRotation();
  measureServingCertificate(registry, rotation, clock);
  state.failures = 1;
  rotated(7_200_000);
  rotated(30_000);
  const values = await valuesOf(registry);
  for (const line of [
    'kubelet_certificate_manager_server_ttl_seconds +Inf',
    'kubelet_server_expiration_renew_errors 1',
    'kubelet_certificate_manager_server_rotation_seconds_bucket{le="60"} 1',
    'kubelet_certificate_manager_server_rotation_seconds_bucket{le="3600"} 1',
    'kubelet_certificate_manager_server_rotation_seconds_bucket{le="14400"} 2',
    'kubelet_certificate_manager_server_rotation_seconds_bucket{le="124416000"} 2',
    'kubelet_certificate_manager_server_rotation_seconds_sum 7230',
  ])
    t.true(values.includes(line), `${line}\n${values.join('\n')}`);
});
