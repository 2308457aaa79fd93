import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { CriError, GrpcStatus } from '../../../cri/cri-error.ts';
import { type StreamingApi, type StreamingApiOptions, startStreamingApi } from './fake-streaming-api.ts';

async function start(t: ExecutionContext, options?: StreamingApiOptions): Promise<StreamingApi> {
  const api = await startStreamingApi(options);
  t.teardown(() => api.close());
  return api;
}

const spdy = ['Connection: Upgrade', 'Upgrade: SPDY/3.1', 'X-Stream-Protocol-Version: v4.channel.k8s.io'];
const webSocket = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: eA=='];
const execPath = '/exec/shop/web/main?input=1&output=1&tty=1&command=sh&command=-c&command=echo%20%26';

interface Answer {
  status: number;
  /** Lower-case names. */
  headers: Record<string, string>;
  /** What came behind the head so far, or to the end. */
  rest: string;
}

function parse(text: string): Answer {
  const end = text.indexOf('\r\n\r\n');
  const [first = '', ...lines] = text.slice(0, end).split('\r\n');
  const headers = lines.map((line) => {
    const colon = line.indexOf(': ');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 2)];
  });
  return { status: Number(first.split(' ')[1]), headers: Object.fromEntries(headers), rest: text.slice(end + 4) };
}

interface Talk {
  socket: Socket;
  /** Until the answer's head (and what came with it) is there. */
  head: Promise<Answer>;
  /** Until the server ended. */
  all: Promise<Answer>;
  received(): string;
}

async function talk(api: StreamingApi, path: string, headers = spdy, method = 'POST', more = ''): Promise<Talk> {
  const socket = await api.connect();
  let text = '';
  socket.on('data', (chunk) => {
    // A flood is counted by nobody here.
    if (text.length < 100_000) text += chunk.toString('latin1');
  });
  const head = new Promise<Answer>((resolve) => {
    socket.on('data', () => {
      if (text.includes('\r\n\r\n')) resolve(parse(text));
    });
  });
  const all = new Promise<Answer>((resolve) => {
    socket.once('end', () => {
      socket.end();
      resolve(parse(text));
    });
  });
  socket.write(`${method} ${path} HTTP/1.1\r\nHost: node:10250\r\n${headers.join('\r\n')}\r\n\r\n${more}`);
  return { socket, head, all, received: () => text };
}

const eventually = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await delay(5);
};
const nothingOpen = (api: StreamingApi): Promise<void> =>
  eventually(() => api.connections.size === 0 && api.fake.connections.size === 0 && api.serving() === 0);

for (const tls of [false, true]) {
  const over = tls ? 'TLS' : 'plain TCP';

  test(`exec over ${over}: the upgrade and then the bytes reach the runtime and come back`, async (t) => {
    const api = await start(t, { tls });
    const { socket, head, received } = await talk(api, execPath);
    const { status, headers } = await head;
    t.is(status, 101);
    t.is(headers.upgrade, 'SPDY/3.1');
    t.is(headers['x-stream-protocol-version'], 'v4.channel.k8s.io');
    socket.write('hello \u00ff');
    await eventually(() => Buffer.from(received(), 'latin1').toString().endsWith('hello \u00ff'));
    const [stream] = api.fake.streams;
    t.is(stream?.call, 'exec');
    t.deepEqual(stream?.asked, {
      containerId: 'main-1',
      cmd: ['sh', '-c', 'echo &'],
      stdin: true,
      stdout: true,
      stderr: false,
      tty: true,
    });
    socket.end();
    await nothingOpen(api);
  });

  test(`a client that vanishes over ${over} in the middle of a flood leaves no connection`, async (t) => {
    const api = await start(t, { tls });
    api.fake.serve = ({ socket }) => {
      const chunk = Buffer.alloc(65_536);
      const flood = (): void => {
        while (!socket.destroyed && socket.write(chunk));
      };
      socket.on('drain', flood);
      // As containerd: the end of the client ends the stream.
      socket.on('end', () => socket.destroy()).resume();
      flood();
    };
    const talks = await Promise.all(Array.from({ length: 10 }, () => talk(api, execPath)));
    await Promise.all(talks.map(({ head }) => head));
    t.is(api.fake.connections.size, 10);
    for (const { socket } of talks) socket.destroy();
    await nothingOpen(api);
    t.pass();
  });

  test(`a runtime that dies ends the clients over ${over}`, async (t) => {
    const api = await start(t, { tls });
    const talks = await Promise.all(Array.from({ length: 10 }, () => talk(api, execPath)));
    await Promise.all(talks.map(({ head }) => head));
    for (const socket of api.fake.connections) socket.destroy();
    await Promise.all(talks.map(({ all }) => all));
    await nothingOpen(api);
    t.pass();
  });
}

test("the client's headers go on as they are, but no token and no body length", async (t) => {
  const api = await start(t);
  const secrets = ['Authorization: Bearer secret', 'Cookie: a=b', 'Proxy-Authorization: x', 'Content-Length: 0'];
  const { head } = await talk(api, execPath, [...webSocket, 'X-Odd: \u00e4 "1"', 'x-odd: 2', ...secrets], 'GET');
  t.is((await head).status, 101);
  const { method, rawHeaders, headers } = api.fake.streams[0]!.request;
  t.is(method, 'GET');
  t.is(headers['sec-websocket-key'], 'eA==');
  t.is(headers.host, 'node:10250');
  t.true(rawHeaders.includes('X-Odd'));
  t.is(headers['x-odd'], `${Buffer.from('\u00e4').toString('latin1')} "1", 2`);
  for (const name of ['authorization', 'cookie', 'proxy-authorization', 'content-length', 'transfer-encoding'])
    t.is(headers[name], undefined);
});

test('a POST goes on as one without a body', async (t) => {
  const api = await start(t);
  const { head } = await talk(api, execPath);
  t.is((await head).status, 101);
  const { method, headers } = api.fake.streams[0]!.request;
  t.is(method, 'POST');
  t.is(headers['content-length'], '0');
  t.is(headers['transfer-encoding'], undefined);
});

test('a refused client that does not end is cut', async (t) => {
  const api = await start(t);
  api.fake.answerInstead = (socket) => socket.write('HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno');
  for (const path of [execPath, '/exec/shop/none/main?output=1']) {
    const socket = await api.connect();
    socket.resume();
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n${spdy.join('\r\n')}\r\n\r\n`);
    await once(socket, 'end');
    // It is half open: its own end does not follow.
    await api.clock.advance(9_999);
    t.is(api.connections.size, 1);
    await api.clock.advance(1);
    await eventually(() => api.connections.size === 0);
    socket.destroy();
  }
});

test('a client that breaks off while the runtime thinks', async (t) => {
  const api = await start(t);
  let answer: (() => void) | undefined;
  api.fake.answerInstead = (socket) => {
    answer = () => socket.end('HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno');
  };
  const { socket } = await talk(api, execPath);
  await eventually(() => answer !== undefined);
  socket.resetAndDestroy();
  await delay(20);
  answer?.();
  await nothingOpen(api);
  t.pass();
});

test('what the client and the runtime send together with their heads is not lost', async (t) => {
  const api = await start(t);
  api.fake.serve = ({ socket }) => {
    socket.on('data', (chunk) => socket.end(`you said ${chunk}`));
  };
  const first = await talk(api, execPath, spdy, 'POST', 'early');
  t.is((await first.all).rest, 'you said early');
  api.fake.answerInstead = (socket) =>
    socket.end('HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nat once');
  t.is((await (await talk(api, execPath)).all).rest, 'at once');
  await nothingOpen(api);
});

test("attach takes the terminal from the container's spec", async (t) => {
  const api = await start(t);
  for (const container of ['main', 'proxy']) {
    const { head, socket } = await talk(api, `/attach/shop/web/u1/${container}?input=1&output=1`);
    t.is((await head).status, 101);
    socket.destroy();
  }
  t.deepEqual(
    api.fake.streams.map(({ asked }) => asked),
    ['main', 'proxy'].map((name) => ({
      containerId: `${name}-1`,
      stdin: true,
      stdout: true,
      stderr: false,
      tty: name === 'main',
    })),
  );
});

test('port-forward: by sandbox, with the ports of a WebSocket', async (t) => {
  const api = await start(t);
  for (const [path, headers, method] of [
    ['/portForward/shop/web', spdy, 'POST'],
    ['/portForward/shop/web/u1?port=80&port=81', webSocket, 'GET'],
  ] as const) {
    const { head } = await talk(api, path, [...headers], method);
    t.is((await head).status, 101);
  }
  t.deepEqual(
    api.fake.streams.map(({ asked }) => asked),
    [
      { podSandboxId: 'sandbox-1', port: [] },
      { podSandboxId: 'sandbox-1', port: [80, 81] },
    ],
  );
});

for (const [path, status, body, headers] of [
  ['/exec/shop/web/main?command=ls', 400, 'you must specify at least 1 of stdin, stdout, stderr', spdy],
  ['/attach/shop/web/main', 400, 'you must specify at least 1 of stdin, stdout, stderr', spdy],
  ['/exec/shop/none/main?output=1', 404, 'pod does not exist', spdy],
  ['/exec/..%2f..%2fetc/web/main?output=1', 404, 'pod does not exist', spdy],
  ['/exec/shop/web/none?output=1', 500, 'container not found ("none")', spdy],
  ['/exec/shop/web/done?output=1', 500, 'container not found ("done")', spdy],
  ['/exec/shop/web/a%0d%0ab?output=1', 500, 'container not found ("a\\r\\nb")', spdy],
  ['/attach/shop/web/done?output=1', 500, 'container done not found in pod web_shop', spdy],
  ['/exec/shop/web/lost?output=1', 404, 'an error occurred when try to find container "lost-1"', spdy],
  ['/attach/shop/web/main?output=1&error=1', 500, 'tty and stderr cannot both be true', spdy],
  ['/portForward/shop/none', 404, 'pod does not exist', spdy],
  ['/portForward/shop/web/other', 404, 'pod not found', spdy],
  ['/portForward/shop/web', 400, 'query parameter "port" is required', webSocket],
  ['/portForward/shop/web?port=0', 400, 'port "0" must be > 0', webSocket],
] as const)
  test(`refused with ${status}: ${path}`, async (t) => {
    const api = await start(t);
    const { all } = await talk(api, path, [...headers], 'GET');
    const answer = await all;
    t.is(answer.status, status);
    t.is(answer.rest, body);
    t.is(answer.headers['content-length'], String(body.length));
    t.is(answer.headers.connection, 'close');
    t.deepEqual(api.fake.streams, []);
    await nothingOpen(api);
  });

for (const [path, status, body] of [
  ['/exec/shop/web/main?output=1', 500, 'Upgrade request required'],
  ['/attach/shop/web/main?output=1', 500, 'Upgrade request required'],
  ['/portForward/shop/web', 500, 'Upgrade request required'],
  ['/exec/shop/web/main', 400, 'you must specify at least 1 of stdin, stdout, stderr'],
  ['/exec/shop/none/main?output=1', 404, 'pod does not exist'],
  ['/portForward/shop/none', 404, 'pod does not exist'],
] as const)
  test(`no upgrade, answered with ${status}: ${path}`, async (t) => {
    const api = await start(t);
    const response = await fetch(`http://127.0.0.1:${api.port}${path}`, { method: 'POST' });
    t.is(response.status, status);
    t.is(await response.text(), body);
    t.is(api.fake.connections.size, 0);
  });

test('a refusal of the runtime is passed on as it is', async (t) => {
  const api = await start(t);
  for (const [written, status, body] of [
    ['403 Forbidden\r\nContent-Length: 5\r\nX-Why: origin\r\n\r\nnever', 403, 'never'],
    ['400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n', 400, 'bad'],
    ['404 Not Found\r\nContent-Length: 0\r\n\r\n', 404, ''],
    ['500 Oh\r\n\r\nto the end', 500, 'to the end'],
  ] as const) {
    api.fake.answerInstead = (socket) => {
      socket.write(`HTTP/1.1 ${written}`);
      // As a server that keeps its connection alive, unless the end is the end of the body.
      if (status === 500) socket.end();
    };
    const answer = await (await talk(api, execPath)).all;
    t.is(answer.status, status);
    t.is(answer.rest, body);
    t.is(answer.headers['x-why'], status === 403 ? 'origin' : undefined);
    t.is(answer.headers['transfer-encoding'], undefined);
    t.is(answer.headers.connection, 'close');
  }
  await nothingOpen(api);
});

test('answers of the runtime that are none', async (t) => {
  const api = await start(t);
  for (const [written, body] of [
    ['HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', /^invalid upgrade response: status code 200$/],
    ['HTTP/1.1 302 Found\r\nLocation: http://192.0.2.9/\r\nContent-Length: 0\r\n\r\n', /status code 302$/],
    ['garbage\r\n\r\n', /^error dialing backend: /],
    [`HTTP/1.1 101 x\r\nX: ${'y'.repeat(1e6)}\r\n\r\n`, /^error dialing backend: /],
    ['', /^error dialing backend: /],
  ] as const) {
    api.fake.answerInstead = (socket) => socket.end(written);
    const answer = await (await talk(api, execPath)).all;
    t.is(answer.status, 500);
    t.regex(answer.rest, body);
  }
  await nothingOpen(api);
});

test('an endless refusal is cut', async (t) => {
  const api = await start(t);
  api.fake.answerInstead = (socket) => socket.write('HTTP/1.1 500 Oh\r\n\r\nand then');
  const { head, socket } = await talk(api, execPath);
  t.is((await head).status, 500);
  const closed = once(socket, 'close');
  socket.once('end', () => socket.end());
  await api.clock.advance(10_000);
  await closed;
  await nothingOpen(api);
});

for (const url of ['', '/exec/t0', 'ftp://127.0.0.1/x', 'unix:///run/x', 'http://user:pw@127.0.0.1/x', 'http://[::1'])
  test(`the runtime gives no usable URL: ${url || 'nothing'}`, async (t) => {
    const api = await start(t);
    api.fake.url = url;
    const { status, rest } = await (await talk(api, execPath)).all;
    t.is(status, 500);
    t.is(rest, 'the container runtime gave no usable address of its streaming server');
  });

test('the streaming server does not listen', async (t) => {
  const api = await start(t);
  api.fake.url = 'http://127.0.0.1:1/exec/t0';
  const { status, rest } = await (await talk(api, execPath)).all;
  t.is(status, 500);
  t.is(rest, 'error dialing backend: connect ECONNREFUSED 127.0.0.1:1');
});

test('the runtime has too many requests waiting: 429 with a time to come again', async (t) => {
  const api = await start(t);
  api.fake.runtime.exec = async () => {
    throw CriError.fromStatus('Exec', GrpcStatus.resourceExhausted, 'maximum number of in-flight requests exceeded');
  };
  const { status, rest, headers } = await (await talk(api, execPath)).all;
  t.is(status, 429);
  t.is(rest, 'maximum number of in-flight requests exceeded');
  t.is(headers['retry-after'], '60');
});

test('an upgrade with a body is refused: a request could hide in it', async (t) => {
  const api = await start(t);
  const hidden = 'GET /exec/t0 HTTP/1.1\r\nHost: x\r\n\r\n';
  for (const [header, body] of [
    [`Content-Length: ${hidden.length}`, hidden],
    ['Transfer-Encoding: chunked', `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`],
  ] as const) {
    const { status, rest } = await (await talk(api, execPath, [...spdy, header], 'POST', body)).all;
    t.is(status, 400);
    t.is(rest, 'an upgrade request must have no body');
  }
  t.is(api.fake.connections.size, 0);
  await nothingOpen(api);
});

test('stopped: streams are cut, and none begins', async (t) => {
  const api = await start(t);
  const talks = await Promise.all([talk(api, execPath), talk(api, '/portForward/shop/web')]);
  await Promise.all(talks.map(({ head }) => head));
  api.stop.abort(new Error('stops'));
  await nothingOpen(api);
  const late = await talk(api, execPath);
  late.socket.on('close', () => {});
  await nothingOpen(api);
  t.is(late.received(), '');
});

test('stopped while the runtime thinks about an answer', async (t) => {
  const api = await start(t);
  let asked = false;
  api.fake.answerInstead = () => {
    asked = true;
  };
  const { received } = await talk(api, execPath);
  await eventually(() => asked);
  api.stop.abort(new Error('stops'));
  await nothingOpen(api);
  t.is(received(), '');
});

test('silence ends a stream', async (t) => {
  const api = await start(t, { idleTimeoutMs: 1000 });
  const { head } = await talk(api, execPath);
  await head;
  await api.clock.advance(1250);
  await nothingOpen(api);
  t.pass();
});

test('run: standard output, then standard error', async (t) => {
  const api = await start(t);
  api.fake.output = { stdout: 'out\n', stderr: 'err\n', exitCode: 0 };
  for (const path of ['/run/shop/web/proxy', '/run/shop/web/u1/proxy']) {
    const response = await fetch(`http://127.0.0.1:${api.port}${path}?cmd=ls%20-l++x`, { method: 'POST' });
    t.is(response.status, 200);
    t.is(await response.text(), 'out\nerr\n');
  }
  t.deepEqual(api.fake.execSyncs[0], { cmd: ['ls', '-l', '', 'x'], timeout: 0 });
});

test('run: what goes wrong is 404 for the pod and 500 for the rest', async (t) => {
  const api = await start(t);
  const run = async (path: string): Promise<[number, string]> => {
    const response = await fetch(`http://127.0.0.1:${api.port}/run/${path}?cmd=ls%20x`, { method: 'POST' });
    return [response.status, await response.text()];
  };
  t.deepEqual(await run('shop/none/main'), [404, 'pod does not exist']);
  t.deepEqual(await run('shop/web/done'), [500, 'container not found ("done")']);
  t.is((await run('shop/web/lost'))[0], 500);
  api.fake.output = { stdout: '', stderr: 'no such file', exitCode: 2 };
  t.deepEqual(await run('shop/web/main'), [500, "command 'ls x' exited with 2: no such file"]);
});

test('every route wants the subresource proxy, and none is on the read-only port', async (t) => {
  const { streamingRoutes } = await import('./streaming-routes.ts');
  const { fake, clock } = await start(t);
  const { silentLogger } = await import('../../../observe/logger.ts');
  const pods = { list: () => [], find: () => undefined };
  const routes = streamingRoutes({ pods, runtime: fake.runtime, idleTimeoutMs: 0, log: silentLogger, clock });
  t.deepEqual(
    routes.map(({ path }) => path),
    [
      '/exec/{namespace}/{pod}/{container}',
      '/exec/{namespace}/{pod}/{uid}/{container}',
      '/attach/{namespace}/{pod}/{container}',
      '/attach/{namespace}/{pod}/{uid}/{container}',
      '/portForward/{namespace}/{pod}',
      '/portForward/{namespace}/{pod}/{uid}',
      '/run/{namespace}/{pod}/{container}',
      '/run/{namespace}/{pod}/{uid}/{container}',
    ],
  );
  for (const { subresources, readOnlyPort, path, methods } of routes) {
    t.deepEqual([...subresources], ['proxy']);
    t.is(readOnlyPort, undefined);
    t.deepEqual([...methods], path.startsWith('/run') ? ['POST'] : ['GET', 'POST']);
  }
});
