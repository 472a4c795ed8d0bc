'use strict';
// Hands a request, an upgrade or a stream over to a clone, and makes sure that it is that clone who gets it.
// Knows where to send it only by asking `place`; decides nothing about scaling.

const http = require('node:http');
const net = require('node:net');
const { Readable } = require('node:stream');
const { createProxyServer } = require('http-proxy-3');
const { Refused } = require('./policy');

const COOKIE = 'gridcentric';
// A body up to this size is read before the request goes to a clone, so that it can go to another if that one is gone.
const REPLAYED_BODY = 65536;
const ATTEMPTS = 3;
// An app that were told to close the connection might do so right after an early answer (413 to a large body), and the
// answer would be lost in the reset. So each leg settles for itself whether its connection is kept.
const KEPT = { connection: 'keep-alive' };

/**
 * Connections to one clone. An address whose clone has ended is answered by the master where the app listens on all
 * addresses; so the host is asked, after the connection stands, whether the clone lives: then it is the one connected to.
 */
class CloneAgent extends http.Agent {
  constructor(clone, family, keepAlive) {
    super({ keepAlive });
    this.clone = clone;
    this.family = family;
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
      } catch (error) {
        return fail(error);
      }
      socket.removeListener('error', fail);
      done(null, socket);
    });
  }
}

class Proxy {
  /**
   * @param enter (cookie) => user: a request begins; exit (user): it has ended
   * @param place async (user, goneStream) => clone; rejects with Refused
   * @param lost async (): a clone could not be reached; what lives is to be looked up
   * @param answered (clone): the first bytes of its answer are there
   */
  constructor({ appPort, family, enter, exit, place, lost, answered, retryAfter }) {
    Object.assign(this, { appPort, family, enter, exit, place, lost, answered, retryAfter });
    this.agents = new Map(); // vmid -> { kept, fresh }
    this.routes = new WeakMap(); // request -> { user, clone }
    this.proxy = createProxyServer({});
    this.proxy.on('proxyRes', (answer, request, response) => {
      const { user, clone } = this.routes.get(request);
      delete answer.headers.connection; // what is kept with the app is nothing to the client
      this.answered(clone);
      mark(answer, user, clone);
      answer.on('error', () => response.destroy()); // the clone ended in mid-answer: so does the answer
    });
    this.proxy.on('proxyReqWs', (outgoing, request) => {
      const { user, clone } = this.routes.get(request);
      outgoing.prependListener('upgrade', (answer) => mark(answer, user, clone));
    });
    // Errors come to the callback of each request; what is left here is clients that went away.
    this.proxy.on('econnreset', () => {});
  }

  async handle(request, response) {
    let user;
    try {
      user = this.enter(cookieOf(request));
      response.once('close', () => this.exit(user));
      delete request.headers.expect; // node has answered it
      const body = await smallBody(request).catch(() => response.destroy()); // it broke off in its own request
      for (let attempt = 1; !response.destroyed; attempt++) {
        const clone = await this.place(user, response);
        const error = await this.#pass(request, response, clone, user, body, attempt);
        if (!error || response.destroyed) return;
        if (error.unsent) await this.lost();
        if (response.headersSent) return void response.destroy();
        const safe = error.unsent || harmless(request);
        if (!body || !safe || attempt === ATTEMPTS) {
          return this.#say(response, user, 502, `clone ${clone.vmid} broke off: ${error.message}`);
        }
      }
    } catch (error) {
      if (response.destroyed) return;
      if (error instanceof Refused) return this.#say(response, user, 503, error.message);
      throw error;
    }
  }

  async upgrade(request, socket, head) {
    socket.on('error', () => {}); // it closes; the user leaves then
    let user;
    try {
      user = this.enter(cookieOf(request));
      socket.once('close', () => this.exit(user));
      for (let attempt = 1; ; attempt++) {
        const clone = await this.place(user, socket);
        if (socket.destroyed) return;
        if (attempt < ATTEMPTS && !(await this.family.lives(clone.vmid))) {
          await this.lost();
          continue;
        }
        this.routes.set(request, { user, clone });
        this.proxy.ws(request, socket, head, { ...this.#route(clone, request), xfwd: true }, () => this.lost());
        return;
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      socket.end(`HTTP/1.1 503 Service Unavailable\r\nRetry-After: ${this.retryAfter}\r\nConnection: close\r\n\r\n`);
    }
  }

  /** A clone is gone: so are the connections to it. */
  forget(vmid) {
    for (const agent of Object.values(this.agents.get(vmid) ?? {})) agent.destroy();
    this.agents.delete(vmid);
  }

  close() {
    for (const vmid of [...this.agents.keys()]) this.forget(vmid);
  }

  /**
   * A kept connection may be closed by the app just when a request goes out on it. A page is asked for again then; what
   * may have been done already (a message) is not: it gets a fresh connection.
   */
  #route(clone, request) {
    if (!this.agents.has(clone.vmid)) {
      const agent = (keepAlive) => new CloneAgent(clone, this.family, keepAlive);
      this.agents.set(clone.vmid, { kept: agent(true), fresh: agent(false) });
    }
    const { kept, fresh } = this.agents.get(clone.vmid);
    const target = { protocol: 'http:', host: clone.ip, hostname: clone.ip, port: this.appPort };
    return { target, agent: harmless(request) ? kept : fresh };
  }

  /** Resolves with the error that kept the answer from coming, or nothing once the response has ended. */
  #pass(request, response, clone, user, body, attempt) {
    this.routes.set(request, { user, clone });
    return new Promise((resolve) => {
      response.once('close', () => {
        request.unpipe().resume(); // what the app did not want of the body makes way for the next request
        resolve();
      });
      const buffer = body && Readable.from(body.length ? [body] : []);
      const options = { ...this.#route(clone, request), headers: KEPT, buffer, xfwd: attempt === 1 };
      this.proxy.web(request, response, options, resolve);
    });
  }

  #say(response, user, status, text) {
    const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' };
    if (status === 503) headers['retry-after'] = this.retryAfter;
    if (user && !user.confirmed) headers['set-cookie'] = cookieFor(user);
    response.writeHead(status, headers);
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

const harmless = (request) => request.method === 'GET' || request.method === 'HEAD';

function cookieOf(request) {
  for (const pair of (request.headers.cookie ?? '').split(';')) {
    const [name, value] = pair.trim().split('=', 2);
    if (name === COOKIE) return value;
  }
  return undefined;
}

const cookieFor = (user) => `${COOKIE}=${user.id}; Path=/; HttpOnly; SameSite=Lax`;

/** Say in an answer which clone it comes from; give a new user its cookie. */
function mark(answer, user, clone) {
  answer.headers['x-gridcentric-vmid'] = String(clone.vmid);
  if (!user.confirmed) answer.headers['set-cookie'] = [...(answer.headers['set-cookie'] ?? []), cookieFor(user)];
}

module.exports = { Proxy, cookieOf };
