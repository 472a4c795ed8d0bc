'use strict';
// Hands a request, an upgrade or a stream over to a clone, and makes sure that it is that clone who gets it, once.
// Knows where to send it only by asking `place`; decides nothing about scaling.

const { ServerResponse, STATUS_CODES } = require('node:http');
const { setTimeout } = require('node:timers/promises');
const { fault, wantsWebSocket, withoutUpgrade } = require('./headers');
const { Refused } = require('./policy');
const { Upstream } = require('./upstream');

// A body up to this size is read before the request goes to a clone, so that it can go to another if that one is gone.
const REPLAYED_BODY = 65536;
const ATTEMPTS = 3;
const PAUSE_MS = 50; // between them, longer each time

class Proxy {
  /**
   * @param enter (request) => user: a request begins; exit (user): it has ended
   * @param place async (user, goneStream) => clone; rejects with Refused
   * @param lost async (): a clone could not be reached; what lives is to be looked up
   * @param answered (clone): its answer begins
   * @param cookie (user) => the Set-Cookie of an answer to it, or undefined
   * @param listener (request, user) => what is called with the beginning of the answer's body, or undefined
   * @param requestTimeout, trustProxy: the options
   */
  constructor({ appPort, family, enter, exit, place, lost, answered, cookie, listener, retryAfter, requestTimeout, trustProxy }) {
    Object.assign(this, { appPort, family, enter, exit, place, lost, answered, cookie, listener, retryAfter, requestTimeout, trustProxy });
    this.upstreams = new Map(); // vmid -> Upstream
  }

  handle(request, response) { return this.#serve(request, response, response); }

  /** An `upgrade` of the server's. What is no WebSocket is read again as a request that has not asked for anything. */
  async upgrade(server, request, socket, head) {
    socket.on('error', () => {}); // it closes; the user leaves then
    if (!wantsWebSocket(request)) {
      socket.unshift(Buffer.concat([withoutUpgrade(request), head]));
      server.emit('connection', socket);
      return;
    }
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => socket.destroySoon());
    await this.#serve(request, response, socket, head);
  }

  /** Has anything come from this clone since this was asked last? */
  hasSpoken(vmid) { return this.upstreams.get(vmid)?.hasSpoken() ?? false; }

  /** A clone is gone: so are the connections to it. */
  forget(vmid) {
    this.upstreams.get(vmid)?.destroy();
    this.upstreams.delete(vmid);
  }

  close() {
    for (const vmid of [...this.upstreams.keys()]) this.forget(vmid);
  }

  /** `stream` closes when the client has gone; `head` comes with an upgrade. */
  async #serve(request, response, stream, head) {
    response.on('error', () => {});
    let user;
    try {
      const wrong = fault(request);
      if (wrong) return this.#say(response, undefined, 400, wrong);
      user = this.enter(request);
      stream.once('close', () => this.exit(user));
      const body = head ? Buffer.alloc(0) : await smallBody(request).catch(() => response.destroy());
      if (!stream.destroyed) await this.#deliver(request, response, stream, user, body, head);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (!stream.destroyed) this.#say(response, user, 503, error.message);
    }
  }

  /**
   * To a clone, and to another only when that one has got nothing of it: what may have ended one clone shall not end a
   * second. A kept connection may be closed by the app just when a request goes out on it; then a page is asked for again,
   * on a fresh connection to the same clone. What may have been done already (a message) never is.
   */
  async #deliver(request, response, stream, user, body, head) {
    const harmless = request.method === 'GET' || request.method === 'HEAD';
    let met; // the clone that has got it
    for (let attempt = 1; ; attempt++) {
      const clone = await this.place(user, response);
      if (stream.destroyed) return;
      if (met && met !== clone) return this.#say(response, user, 502, `clone ${met.vmid} has ended`);
      const options = {
        body, timeout: this.requestTimeout, trusted: this.trustProxy, fresh: !harmless || attempt > 1,
        mark: (headers) => this.#mark(headers, user, clone), listener: this.listener(request, user),
      };
      const upstream = this.#upstream(clone);
      const error = await (head ? upstream.upgrade(request, response, stream, head, options) : upstream.send(request, response, options));
      if (!error || stream.destroyed || response.headersSent) return;
      if (error.malformed) return this.#say(response, user, 400, error.message);
      if (error.late) return this.#say(response, user, 504, `clone ${clone.vmid}: ${error.message}`);
      if (this.family.isClone()) throw new Refused('this is a clone: the request is its master\'s');
      await this.lost();
      const again = error.unsent || (error.reused && harmless && this.upstreams.has(clone.vmid));
      if (!again || !body || attempt === ATTEMPTS) {
        return this.#say(response, user, 502, `clone ${clone.vmid} broke off: ${error.message}`);
      }
      if (error.unsent) {
        // It may have ended without the host knowing yet: its gc-reaper ends a little later.
        await setTimeout(PAUSE_MS * attempt);
      } else {
        met = clone;
      }
    }
  }

  #upstream(clone) {
    let upstream = this.upstreams.get(clone.vmid);
    if (!upstream) this.upstreams.set(clone.vmid, (upstream = new Upstream(clone, this.family, this.appPort)));
    return upstream;
  }

  /** Say in an answer which clone it comes from; give a new user its cookie. */
  #mark(headers, user, clone) {
    this.answered(clone);
    const marked = [];
    for (let i = 0; i < headers.length; i += 2) {
      if (headers[i].toLowerCase() !== 'x-gridcentric-vmid') marked.push(headers[i], headers[i + 1]);
    }
    marked.push('X-Gridcentric-Vmid', String(clone.vmid));
    const cookie = this.cookie(user);
    if (cookie) marked.push('Set-Cookie', cookie);
    return marked;
  }

  #say(response, user, status, text) {
    const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' };
    if (status === 503) headers['retry-after'] = this.retryAfter;
    if (status === 400) headers.connection = 'close'; // where the next request begins is not certain
    const cookie = user && this.cookie(user);
    if (cookie) headers['set-cookie'] = cookie;
    response.writeHead(status, STATUS_CODES[status], headers);
    response.end(`${text}\n`);
  }
}

/** The body, when it is small enough to be sent again; undefined: it is a stream. */
async function smallBody(request) {
  const length = request.headers['content-length'];
  if (length === undefined) return request.headers['transfer-encoding'] ? undefined : Buffer.alloc(0);
  if (Number(length) > REPLAYED_BODY) return undefined;
  const chunks = [];
  for await (const chunk of request.iterator({ destroyOnReturn: false })) chunks.push(chunk);
  return Buffer.concat(chunks);
}

module.exports = { Proxy };
