'use strict';
// The connections to the clones, and one request or WebSocket over one of them. Whatever goes wrong on either side ends in
// what is resolved here, never in an error that nobody handles. Knows nothing of users; whom to ask again, proxy.js decides.
// On node:http alone: the proxies that npm has (http-proxy and its heirs) rewrite the path, pass on what is of one hop, and throw
// errors that nobody listens for.

const http = require('node:http');
const net = require('node:net');
const { towardsClient, towardsClone } = require('./headers');

/**
 * Connections to one clone. An address whose clone has ended may be answered by somebody else (the master, where the app
 * listens on all addresses); so the host is asked, after the connection stands, whether the clone lives: then it is the one
 * connected to.
 */
class CloneAgent extends http.Agent {
  constructor(clone, family, keepAlive) {
    super({ keepAlive });
    Object.assign(this, { clone, family });
    this.open = new Set(); // sockets
    this.readBefore = 0; // bytes, from those that have closed
  }

  /** All that has come from the clone, in bytes. */
  get bytesRead() {
    let sum = this.readBefore;
    for (const socket of this.open) sum += socket.bytesRead;
    return sum;
  }

  createConnection(options, done) {
    const socket = net.connect({ host: this.clone.ip, port: options.port, noDelay: true });
    const fail = (error) => {
      socket.destroy();
      done(Object.assign(error, { unsent: true }));
    };
    socket.once('error', fail);
    socket.once('connect', async () => {
      try {
        if (!(await this.family.lives(this.clone.vmid))) throw new Error(`clone ${this.clone.vmid} has ended`);
        // The clone may have ended before the host noticed. node:http waits for ever for a connection that is closed already.
        if (socket.destroyed || socket.readableEnded) throw new Error('it closed the connection');
      } catch (error) {
        return fail(error);
      }
      socket.removeListener('error', fail);
      this.open.add(socket);
      // Node leaves a kept connection that its other end has closed among the free ones for a moment more.
      socket.once('end', () => { if (Object.values(this.freeSockets).flat().includes(socket)) socket.destroy(); });
      done(null, socket);
    });
    socket.once('close', () => {
      if (this.open.delete(socket)) this.readBefore += socket.bytesRead;
    });
  }
}

/** What there is of one clone: kept connections for what may be asked twice, fresh ones for what may not. */
class Upstream {
  constructor(clone, family, port) {
    this.clone = clone;
    this.port = port;
    this.kept = new CloneAgent(clone, family, true);
    this.fresh = new CloneAgent(clone, family, false);
    this.looked = 0; // bytes read when it was asked last
  }

  /** Has anything come from the clone since this was asked last? */
  hasSpoken() {
    const before = this.looked;
    this.looked = this.kept.bytesRead + this.fresh.bytesRead;
    return this.looked > before;
  }

  destroy() {
    this.kept.destroy();
    this.fresh.destroy();
  }

  /**
   * Sends a request, answers the client with what the clone answers. Resolves when that is over: with nothing, or, when no
   * answer has begun, with the error. Its `unsent`: no byte of the request went out; `reused`: it met a kept connection,
   * which the app may have closed at that moment; `late`: the clone said nothing for `timeout` ms.
   * @param body a Buffer, or undefined: the request itself is passed on as it comes
   * @param mark (headers) what is added to the answer's headers
   * @param listener (chunk), or undefined: is called with the beginning of the answer's body
   */
  async send(request, response, { body, timeout, trusted, fresh, mark, listener }) {
    // What the clone's end did to kept connections may have come together with this request, but is told after it.
    if (!fresh) await new Promise(setImmediate);
    if (response.destroyed) return;
    const headers = towardsClone(request, trusted);
    // An app that were told to close the connection might do so right after an early answer (413 to a large body), and the
    // answer would be lost in the reset. So each leg settles for itself whether its connection is kept.
    headers.push('Connection', 'keep-alive');
    if (request.headers.host === undefined) headers.push('Host', `${this.clone.ip}:${this.port}`); // HTTP/1.0 may come without
    if (!body && request.headers['content-length'] === undefined) headers.push('Transfer-Encoding', 'chunked');
    return this.#ask(request, response, headers, fresh ? this.fresh : this.kept, timeout, (outgoing, begun, resolve) => {
      outgoing.on('response', (answer) => {
        if (listener) answer.once('data', listener);
        if (passOn(answer, response, mark)) begun();
      });
      response.once('close', () => {
        request.unpipe().resume(); // what the app did not want of the body makes way for the next request
        if (!response.writableFinished) outgoing.destroy();
        resolve();
      });
      if (body) outgoing.end(body);
      else request.pipe(outgoing);
    });
  }

  /** The same for a request that asks for a WebSocket; `response` is one that was made for its socket. */
  upgrade(request, response, socket, head, { timeout, trusted, mark }) {
    const headers = [...towardsClone(request, trusted), 'Connection', 'Upgrade', 'Upgrade', 'websocket'];
    return this.#ask(request, response, headers, this.fresh, timeout, (outgoing, begun, resolve) => {
      const gone = () => {
        outgoing.destroy();
        resolve();
      };
      socket.once('close', gone);
      outgoing.on('response', (answer) => { if (passOn(answer, response, mark)) begun(); }); // it does not want to
      outgoing.on('upgrade', (answer, other, otherHead) => {
        begun();
        response.detachSocket(socket);
        const lines = mark([...towardsClient(answer), 'Connection', 'Upgrade', 'Upgrade', answer.headers.upgrade ?? 'websocket']);
        let text = `HTTP/1.1 101 ${answer.statusMessage || 'Switching Protocols'}\r\n`;
        for (let i = 0; i < lines.length; i += 2) text += `${lines[i]}: ${lines[i + 1]}\r\n`;
        socket.write(`${text}\r\n`, 'latin1');
        join(socket, head, other, otherHead);
      });
      outgoing.end();
    });
  }

  #ask(request, response, headers, agent, timeout, begin) {
    return new Promise((resolve) => {
      const { method, url: path } = request;
      let outgoing;
      try {
        outgoing = http.request({ agent, method, path, host: this.clone.ip, port: this.port, headers, setHost: false });
      } catch (error) {
        return resolve(Object.assign(error, { malformed: true }));
      }
      const broken = (error) => {
        if (response.headersSent) response.destroy();
        error.reused = outgoing.reusedSocket;
        resolve(error);
      };
      outgoing.on('error', broken);
      // An answer that was none (101 to a plain request) destroys it without an error.
      outgoing.on('close', () => { if (!answered) broken(new Error('it closed the connection')); });
      let answered = false;
      const begun = () => {
        answered = true;
        outgoing.setTimeout(0);
      };
      outgoing.setTimeout(timeout, () => {
        outgoing.destroy(Object.assign(new Error(`it did not answer within ${timeout} ms`), { late: true }));
      });
      begin(outgoing, begun, resolve);
    });
  }
}

/**
 * The clone's answer becomes the client's. When either breaks off, so does the other. False when it can't be passed on: the
 * request has failed then. By hand, as stream.pipeline makes an AbortController and a dozen listeners for each answer, which
 * cost more than the answer itself.
 */
function passOn(answer, response, mark) {
  try {
    if (response.destroyed) throw new Error('the client has gone');
    response.writeHead(answer.statusCode, answer.statusMessage, mark(towardsClient(answer)));
  } catch (error) { // node:http reads statuses and reasons that it does not write
    answer.req.destroy(error);
    return false;
  }
  // The head goes out with what has come of the body, and alone if that is nothing: a stream's first event may be far off.
  let alone = setImmediate(() => response.flushHeaders());
  answer.on('data', (chunk) => {
    if (alone) clearImmediate(alone);
    alone = null;
    if (!response.write(chunk)) answer.pause();
  });
  response.on('drain', () => answer.resume());
  answer.on('end', () => {
    if (alone) clearImmediate(alone);
    response.end();
  });
  answer.on('error', () => response.destroy());
  answer.on('close', () => { if (!answer.complete) response.destroy(); });
  response.on('close', () => { if (!response.writableFinished) answer.destroy(); });
  return true;
}

/** Two sockets become one connection. */
function join(a, aHead, b, bHead) {
  for (const [from, to] of [[a, b], [b, a]]) {
    from.setTimeout(0);
    from.setNoDelay(true);
    from.on('error', () => to.destroy());
    from.once('close', () => to.destroySoon());
  }
  if (aHead.length) b.write(aHead);
  if (bHead.length) a.write(bHead);
  a.pipe(b);
  b.pipe(a);
}

module.exports = { Upstream };
