/**
 * Reads an HTTP/1 answer as it arrives: status, Location and the beginning of the body. Nothing else is kept, so that what
 * a hostile server sends costs no more than the limits. Line ends without a carriage return are taken, as Go takes them:
 * probes meet servers of three lines of shell.
 * Layer: kubelet/probes (pure, no sockets). Texts: Go's net/http.
 */
import { quoted } from './http-target.ts';

export interface HttpAnswerLimits {
  /** Of all head lines together, 1xx answers included. */
  headBytes: number;
  /** The body is read no further. */
  bodyBytes: number;
}

type Stage = 'status' | 'headers' | 'sized' | 'chunkSize' | 'chunk' | 'chunkEnd' | 'trailers' | 'untilClose' | 'done';

/** A chunk's size line, with extensions. */
const maxChunkLine = 4096;
/** Pieces of a line that are kept apart. */
const maxLineParts = 256;

export class HttpAnswerReader {
  readonly #limits: HttpAnswerLimits;
  #stage: Stage = 'status';
  #line: Buffer[] = [];
  #lineBytes = 0;
  #headBytes = 0;
  #left = 0;
  #chunked = false;
  #length: number | undefined;
  #body: Buffer[] = [];
  #bodyBytes = 0;
  #status = 0;
  #location: string | undefined;
  #fault: string | undefined;

  constructor(limits: HttpAnswerLimits) {
    this.#limits = limits;
  }

  /** 0 until the head is complete. */
  get status(): number {
    return this.headComplete ? this.#status : 0;
  }

  get location(): string | undefined {
    return this.#location;
  }

  get headComplete(): boolean {
    return this.#stage !== 'status' && this.#stage !== 'headers';
  }

  /** Nothing more is to be read: the answer is whole, its body long enough, or it is broken. */
  get done(): boolean {
    return this.#stage === 'done' || this.#fault !== undefined;
  }

  /** What is wrong with the answer; before `headComplete` there then is none, after it the body was cut off. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** What came of the body, at most `bodyBytes`. */
  body(): string {
    return Buffer.concat(this.#body).toString('utf8');
  }

  push(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0 && !this.done) rest = this.#take(rest);
  }

  /** The server closed the connection. */
  end(): void {
    if (this.done) return;
    if (this.#stage === 'untilClose') this.#stage = 'done';
    else if (this.#stage === 'status' && this.#headBytes === 0 && this.#lineBytes === 0) this.#fault = 'EOF';
    else this.#fault = 'unexpected EOF';
  }

  /** @returns what it left over */
  #take(bytes: Buffer): Buffer {
    switch (this.#stage) {
      case 'sized':
      case 'chunk':
        return this.#takeBody(bytes, this.#left);
      case 'untilClose':
        return this.#takeBody(bytes, bytes.length);
      case 'done':
        return bytes.subarray(bytes.length);
      default:
        return this.#takeLine(bytes);
    }
  }

  #takeBody(bytes: Buffer, wanted: number): Buffer {
    const part = bytes.subarray(0, Math.min(wanted, this.#limits.bodyBytes - this.#bodyBytes));
    // A copy: the chunk that it lies in may be 64 KiB.
    if (part.length > 0) this.#body.push(Buffer.from(part));
    this.#bodyBytes += part.length;
    this.#left -= part.length;
    if (this.#bodyBytes >= this.#limits.bodyBytes) this.#stage = 'done';
    else if (this.#stage === 'sized' && this.#left === 0) this.#stage = 'done';
    else if (this.#stage === 'chunk' && this.#left === 0) this.#stage = 'chunkEnd';
    return bytes.subarray(part.length);
  }

  #takeLine(bytes: Buffer): Buffer {
    const end = bytes.indexOf(0x0a);
    const part = end < 0 ? bytes : bytes.subarray(0, end);
    if (!this.#hasRoom(part.length + 1)) return bytes;
    this.#lineBytes += part.length;
    if (end < 0) {
      this.#line.push(Buffer.from(part));
      // A server that sends byte by byte must not cost an object a byte.
      if (this.#line.length === maxLineParts) this.#line = [Buffer.concat(this.#line)];
      return bytes.subarray(bytes.length);
    }
    const line = Buffer.concat([...this.#line, part]);
    this.#line = [];
    this.#lineBytes = 0;
    this.#readLine((line.at(-1) === 0x0d ? line.subarray(0, -1) : line).toString('utf8'));
    return bytes.subarray(end + 1);
  }

  #hasRoom(bytes: number): boolean {
    const { headBytes } = this.#limits;
    if (this.#stage === 'chunkSize' || this.#stage === 'chunkEnd') {
      if (this.#lineBytes + bytes > maxChunkLine) this.#fault = 'header line too long';
    } else {
      this.#headBytes += bytes;
      if (this.#headBytes > headBytes) {
        this.#fault = `net/http: server response headers exceeded ${headBytes} bytes; aborted`;
      }
    }
    return this.#fault === undefined;
  }

  #readLine(line: string): void {
    switch (this.#stage) {
      case 'status':
        this.#readStatus(line);
        break;
      case 'headers':
        if (line === '') this.#beginBody();
        else this.#readHeader(line);
        break;
      case 'chunkSize':
        this.#readChunkSize(line);
        break;
      case 'chunkEnd':
        if (line === '') this.#stage = 'chunkSize';
        else this.#fault = 'malformed chunked encoding';
        break;
      default:
        if (line === '') this.#stage = 'done';
    }
  }

  #readStatus(line: string): void {
    const [, version, status] = /^([^ ]*) +([^ ]*)/.exec(line) ?? [];
    if (version === undefined) this.#break(`malformed HTTP response ${quoted(line)}`);
    else if (!/^\d{3}$/.test(status ?? '')) this.#break(`malformed HTTP status code ${quoted(status ?? '')}`);
    else if (!/^HTTP\/\d\.\d$/.test(version)) this.#break(`malformed HTTP version ${quoted(version)}`);
    else {
      this.#status = Number(status);
      this.#stage = 'headers';
    }
  }

  #readHeader(line: string): void {
    const colon = line.indexOf(':');
    // The second line of a folded header: none of ours is.
    if (/^[ \t]/.test(line)) return;
    if (colon < 0) this.#break(`malformed MIME header: missing colon: ${quoted(line)}`);
    const value = line.slice(colon + 1).trim();
    switch (line.slice(0, colon).trim().toLowerCase()) {
      case 'location':
        this.#location ??= value;
        break;
      case 'content-length':
        if (!/^\d{1,15}$/.test(value) || (this.#length !== undefined && this.#length !== Number(value))) {
          this.#break(`bad Content-Length ${quoted(value)}`);
        }
        this.#length = Number(value);
        break;
      case 'transfer-encoding':
        if (value.toLowerCase() !== 'chunked') this.#break(`unsupported transfer encoding: ${quoted(value)}`);
        this.#chunked = true;
    }
  }

  #beginBody(): void {
    const status = this.#status;
    if (status < 200 && status !== 101) {
      this.#stage = 'status';
      this.#location = undefined;
      this.#length = undefined;
      this.#chunked = false;
    } else if (status === 101 || status === 204 || status === 304) this.#stage = 'done';
    else if (this.#chunked) this.#stage = 'chunkSize';
    else if (this.#length === undefined) this.#stage = 'untilClose';
    else {
      this.#left = this.#length;
      this.#stage = this.#length === 0 ? 'done' : 'sized';
    }
  }

  #readChunkSize(line: string): void {
    const [size = ''] = line.split(';', 1);
    if (!/^[0-9A-Fa-f]{1,12}$/.test(size.trim())) {
      this.#fault = 'invalid byte in chunk length';
      return;
    }
    this.#left = Number.parseInt(size.trim(), 16);
    this.#stage = this.#left === 0 ? 'trailers' : 'chunk';
  }

  #break(reason: string): void {
    this.#fault = `net/http: HTTP/1.x transport connection broken: ${reason}`;
  }
}
