'use strict';
// The server that clients connect to, and how it ends: node:http's, with limits for silent connections.
// Knows nothing of what is served. gridcentric/autoscale/front.py has its twin.

const http = require('node:http');
const { setTimeout } = require('node:timers/promises');

// Node's own five seconds would often close a connection on which a user is just sending the next request.
const PATIENCE = { headersTimeout: 15000, keepAliveTimeout: 15000, requestTimeout: 120000, connectionsCheckingInterval: 2000 };
// How often the end looks at what is left. That long what has just been answered may take to leave, even without a limit.
const LEFT_EVERY_MS = 20;

class Front {
  /** @param request, upgrade: what node:http's server tells with its events of these names */
  constructor({ maxConnections, request, upgrade }) {
    this.used = new Map(); // connection -> what is under way on it: answers, or the request for a WebSocket
    this.ending = this.waiting = this.cut = false;
    this.server = http.createServer(PATIENCE);
    this.server.maxConnections = maxConnections;
    this.server.on('connection', (socket) => this.#connected(socket));
    this.server.on('request', (incoming, response) => {
      this.#answers(incoming.socket, response);
      request(incoming, response);
    });
    this.server.on('upgrade', (incoming, socket, head) => {
      this.used.get(socket).add(incoming); // until it closes, or becomes a connection again
      upgrade(incoming, socket, head);
    });
    this.server.on('connect', (incoming, socket) => { // no tunnels
      socket.on('error', () => {});
      socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
      socket.destroySoon();
    });
  }

  /** Resolves once it listens; rejects when it can't. */
  listen(where) {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(where, resolve);
    });
  }

  /** Closes all connections. */
  close() {
    for (const socket of this.used.keys()) socket.destroy();
  }

  /**
   * Listens no longer, lets what is under way end by itself, for `limit` ms, then closes all connections. Others are closed now.
   * @param endsWait what is said of how to cut it off
   */
  async end(limit, log, endsWait) {
    this.ending = this.waiting = true;
    const closed = new Promise((resolve) => { this.server.close(resolve); });
    for (const [socket, underWay] of this.used) {
      const last = [...underWay].at(-1); // those before it are on the same connection
      if (last) last.shouldKeepAlive = false;
      else socket.destroySoon();
    }
    const until = performance.now() + limit;
    let told = false;
    while (this.used.size) {
      await setTimeout(LEFT_EVERY_MS);
      if (this.cut || performance.now() >= until) break;
      if (told || !this.#underWay()) continue;
      log(`${this.#count()} may take up to ${limit / 1000} s more${endsWait}`);
      told = true;
    }
    this.waiting = false;
    if (this.#underWay()) log(`${this.#count()} cut off`);
    this.close();
    await closed;
  }

  /** What is under way at the end is waited for no longer. Returns whether it was waited for. */
  cutOff() {
    this.cut = true;
    return this.waiting;
  }

  #underWay() { return [...this.used.values()].filter((underWay) => underWay.size).length; }

  #count() {
    const count = this.#underWay();
    return `${count} request${count > 1 ? 's' : ''} under way`;
  }

  #connected(socket) {
    const again = this.used.has(socket); // it has asked for an upgrade that there is not
    this.used.set(socket, new Set());
    if (again) return;
    socket.once('close', () => {
      const left = this.used.get(socket);
      this.used.delete(socket);
      // An answer that waits behind another is told when their connection closes: node:http tells only the first.
      for (const waiting of left) {
        if (waiting.socket || waiting.writableFinished) continue;
        waiting.destroy();
        waiting.emit('close');
      }
    });
  }

  #answers(socket, response) {
    const underWay = this.used.get(socket);
    underWay.add(response);
    if (this.ending) response.shouldKeepAlive = false;
    response.once('close', () => {
      underWay.delete(response);
      if (this.ending && !underWay.size) socket.destroySoon();
    });
  }
}

module.exports = { Front };
