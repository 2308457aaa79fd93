import test from 'ava';
import fc from 'fast-check';
import type { Container, HTTPGetAction } from '../../api/core.ts';
import { nextRequest } from './http-redirect.ts';
import { type HttpTarget, httpTarget, requestBytes, requestPath, targetUrl } from './http-target.ts';

const container: Container = {
  name: 'c',
  image: 'i',
  ports: [{ name: 'web', containerPort: 8080 }, { containerPort: 9090 }],
};

const target = (action: Partial<HTTPGetAction>, podIP: string | undefined = '10.0.0.5'): HttpTarget => {
  const made = httpTarget({ port: 80, ...action }, container, podIP, 'probe');
  if (typeof made === 'string') throw new Error(made);
  return made;
};
const request = (action: Partial<HTTPGetAction>, podIP?: string): string[] =>
  requestBytes(target(action, podIP)).toString('latin1').split('\r\n');

test('a request asks the pod for what the action names', (t) => {
  t.deepEqual(request({ path: '/healthz?full=1', port: 'web' }), [
    'GET /healthz?full=1 HTTP/1.1',
    'Host: 10.0.0.5:8080',
    'User-Agent: kube-probe/1.36',
    'Accept: */*',
    'Connection: close',
    '',
    '',
  ]);
  t.is(targetUrl(target({ scheme: 'HTTPS', host: 'fd00::1', port: '443' })), 'https://[fd00::1]:443/');
  t.is(request({}, 'fe80::1%eth0')[1], 'Host: [fe80::1]:80', 'a zone is not for the server');
  const hook = httpTarget({ port: 80 }, container, '10.0.0.5', 'lifecycle');
  t.true(typeof hook === 'object' && requestBytes(hook).includes('User-Agent: kube-lifecycle/1.36\r\n'));
});

test('headers of the action are added; User-Agent and Accept are replaced, or removed by an empty value', (t) => {
  const sent = (...httpHeaders: [string, string][]): string[] =>
    request({ httpHeaders: httpHeaders.map(([name, value]) => ({ name, value })) }).slice(1, -3);
  t.deepEqual(sent(['X-A', '1'], ['X-A', '2'], ['host', 'example.com']), [
    'Host: example.com',
    'User-Agent: kube-probe/1.36',
    'Accept: */*',
    'X-A: 1',
    'X-A: 2',
  ]);
  t.deepEqual(sent(['user-agent', 'mine'], ['accept', 'text/html']), [
    'Host: 10.0.0.5:80',
    'User-Agent: mine',
    'accept: text/html',
  ]);
  t.deepEqual(sent(['User-Agent', ''], ['Accept', '']), ['Host: 10.0.0.5:80']);
  t.deepEqual(
    sent(['Content-Length', '5'], ['Transfer-Encoding', 'chunked'], ['Connection', 'keep-alive']).slice(3),
    [],
  );
  t.is(sent(['X-A', ' grün\t']).at(-1), `X-A: ${Buffer.from('grün').toString('latin1')}`, 'as UTF-8');
});

test('what can be no request is refused', (t) => {
  const refusal = (action: Partial<HTTPGetAction>, podIP: string | undefined = '10.0.0.5'): unknown =>
    httpTarget({ port: 80, ...action }, container, podIP, 'probe');
  const header = (name: string, value: string) => ({ httpHeaders: [{ name, value }] });
  t.is(refusal({ port: 'none' }), 'invalid port "none"');
  for (const port of [0, 65536, 1.5, Number.NaN, '0', '70000', '', '8080 ']) {
    t.regex(String(refusal({ port })), /^invalid port/, String(port));
  }
  t.is(refusal({ host: '' }, ''), 'the pod has no IP address', 'never the node itself');
  t.is(httpTarget({ port: 80 }, container, undefined, 'probe'), 'the pod has no IP address');
  for (const host of ['a b', 'a/b', 'a\r\nX: y', '[::1]', 'user@host', 'a:80', '/run/x.sock', 'é', 'x'.repeat(254)]) {
    t.regex(String(refusal({ host })), /^invalid host/, host);
  }
  t.is(refusal(header('X A', '1')), 'invalid header field name "X A"');
  t.is(refusal(header('X\r\nB', '1')), 'invalid header field name "X\\r\\nB"');
  t.is(refusal(header('X-A', '1\r\nHost: evil')), 'invalid header field value for "X-A"');
  for (const char of ['\0', '\n', '\x1f', '\x7f']) {
    t.is(refusal(header('X-A', `a${char}b`)), 'invalid header field value for "X-A"');
  }
  t.is(refusal(header('Host', 'a b')), 'invalid Host header');
});

test('paths go out as they are, and what no request line can hold is escaped', (t) => {
  t.is(requestPath(''), '/');
  t.is(requestPath('healthz'), '/healthz');
  t.is(requestPath('?a=b'), '/?a=b');
  t.is(requestPath('/a/../b//c#part'), '/a/../b//c');
  t.is(requestPath('/%41%zz'), '/%2541%25zz', 'one bad escape: every percent sign is meant');
  t.is(requestPath('/%41'), '/%41');
  t.is(requestPath('/a b\r\nX: y'), '/a%20b%0D%0AX:%20y');
  t.is(requestPath('/ä?q=ä b'), '/%C3%A4?q=%C3%A4%20b');
  t.is(requestPath('http://evil.example/x?y#z'), '/x?y');
  t.is(requestPath('//evil.example/x'), '/x');
});

const isControl = (char: string): boolean => (char < ' ' && char !== '\t') || char === '\x7f';

test('property: nothing in an action ends a line or begins another', (t) => {
  const text = fc.string({ unit: 'binary', maxLength: 30 });
  const action = fc.record({
    port: fc.oneof(fc.integer(), text),
    path: text,
    host: fc.oneof(text, fc.constant('')),
    httpHeaders: fc.array(fc.record({ name: fc.oneof(fc.constantFrom('Host', 'X-A', 'accept'), text), value: text })),
  });
  fc.assert(
    fc.property(action, (given) => {
      const made = httpTarget({ ...given, port: given.port === 0 ? 'web' : 80 }, container, '10.0.0.5', 'probe');
      if (typeof made === 'string') return true;
      const lines = requestBytes(made).toString('latin1').split('\r\n');
      const head = lines.slice(0, -2);
      return (
        /^GET \/[!-~]* HTTP\/1\.1$/.test(head[0] ?? '') &&
        head.slice(1).every((line) => /^[!-~]+:/.test(line) && ![...line].some(isControl)) &&
        lines.at(-3) === 'Connection: close'
      );
    }),
  );
  t.pass();
});

test('redirects on the same host are followed, others are the answer', (t) => {
  const first = target({ path: '/a', port: 8080, httpHeaders: [{ name: 'Host', value: 'site' }] });
  const next = (location: string | undefined, status = 302, made = 1) =>
    nextRequest(first, first, { status, location }, made);
  const url = (location: string): string => {
    const step = next(location);
    return 'next' in step ? `${targetUrl(step.next)} ${step.next.hostHeader}` : JSON.stringify(step);
  };
  t.is(url('/b?c#d'), 'http://10.0.0.5:8080/b?c site');
  t.is(url('b'), 'http://10.0.0.5:8080/b site');
  t.is(url('https://10.0.0.5/c'), 'https://10.0.0.5:443/c ');
  t.is(url('http://10.0.0.5:81/'), 'http://10.0.0.5:81/ ');
  t.deepEqual(next('http://10.0.0.6/'), { stay: true });
  t.deepEqual(next('//example.com/'), { stay: true });
  t.deepEqual(next(undefined), { stay: true });
  t.deepEqual(next('/b', 304), { stay: true });
  t.deepEqual(next('ftp://10.0.0.5/'), { failed: 'unsupported protocol scheme "ftp"' });
  t.deepEqual(next('http://['), { failed: 'failed to parse Location header "http://["' });
  t.true('next' in next('/b', 302, 9));
  t.deepEqual(next('/b', 302, 10), { failed: 'stopped after 10 redirects' });
  const v6 = target({ port: 8080 }, 'fd00:0::1');
  t.true('next' in nextRequest(v6, v6, { status: 307, location: 'http://[fd00::1]/' }, 1));
});
