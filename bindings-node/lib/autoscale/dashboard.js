'use strict';
// The dashboard's side of the server: the page, the feed of server-sent events, and "who am I" for the app's own page.
// Shows what it is handed; knows neither the guest library nor the rules. The page is dashboard/index.html.

const { existsSync, readFileSync } = require('node:fs');
const { join } = require('node:path');

// In the packed package the page lies in it; in a checkout beside it, as Python shares it.
const HOME = join(__dirname, '..', '..');
const PAGE = [HOME, join(HOME, '..')].map((folder) => join(folder, 'dashboard', 'index.html')).find(existsSync);

const PREFIX = '/_gridcentric';
const HISTORY = 900; // points kept for the chart of a page that opens later
const EVENTS = 60;
const READERS = 64;
const SLOW_READER_BYTES = 1 << 20; // unread by a page: it is cut off
const AT_MOST_EVERY_MS = 100;

class Dashboard {
  /** @param snapshot () => the state as docs/autoscale.md lists it  @param me (request) => who the asker is */
  constructor({ enabled, snapshot, me, clock }) {
    Object.assign(this, { enabled, snapshot, me, clock });
    this.started = clock();
    this.page = enabled ? readFileSync(PAGE) : null;
    this.history = []; // [ms, users, clones]
    this.events = []; // { t, kind, text }
    this.readers = new Set();
    this.pending = null;
  }

  static owns(url) { return url === PREFIX || url.startsWith(`${PREFIX}/`) || url.startsWith(`${PREFIX}?`); }

  handle(request, response) {
    const path = request.url.split('?', 1)[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') return reply(response, 405, { error: 'GET only' }, { allow: 'GET' });
    if (path === `${PREFIX}/me`) return reply(response, 200, this.me(request));
    if (!this.enabled) return reply(response, 404, { error: 'the dashboard is off (option dashboard)' });
    if (path === PREFIX || path === `${PREFIX}/`) return this.#page(request, response);
    if (path === `${PREFIX}/state`) return reply(response, 200, this.#full());
    if (path === `${PREFIX}/events`) return this.#subscribe(request, response);
    return reply(response, 404, { error: `there is ${PREFIX}, ${PREFIX}/state, ${PREFIX}/events and ${PREFIX}/me` });
  }

  /** Something happened: it is shown in the list of events. */
  note(kind, text) {
    this.events.push({ t: this.#now(), kind, text });
    if (this.events.length > EVENTS) this.events.shift();
    this.changed();
  }

  /** A point of the chart. */
  point(users, clones) {
    this.history.push([this.#now(), users, clones]);
    if (this.history.length > HISTORY) this.history.shift();
    this.changed();
  }

  /** Tell all pages, soon. */
  changed() {
    if (this.pending || !this.readers.size) return;
    this.pending = setTimeout(() => {
      this.pending = null;
      this.#send('state', { ...this.#state(), point: this.history.at(-1) });
    }, AT_MOST_EVERY_MS);
  }

  close() {
    clearTimeout(this.pending);
    for (const response of this.readers) response.end();
    this.readers.clear();
  }

  #now() { return Math.round(this.clock() - this.started); }
  #state() { return { now: this.#now(), ...this.snapshot(), events: this.events }; }
  #full() { return { ...this.#state(), history: this.history }; }

  #page(request, response) {
    response.writeHead(200, {
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-cache',
      'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:",
    });
    response.end(request.method === 'HEAD' ? undefined : this.page);
  }

  #subscribe(request, response) {
    if (this.readers.size >= READERS) return reply(response, 503, { error: `${READERS} pages are watching already` }, { 'retry-after': 10 });
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(`retry: 1000\nevent: hello\ndata: ${JSON.stringify(this.#full())}\n\n`);
    this.readers.add(response);
    response.on('close', () => this.readers.delete(response));
  }

  #send(event, data) {
    const text = `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
    for (const response of this.readers) {
      if (response.writableLength > SLOW_READER_BYTES) response.destroy();
      else response.write(text);
    }
  }
}

function reply(response, status, body, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers });
  response.end(`${JSON.stringify(body)}\n`);
}

module.exports = { Dashboard };
