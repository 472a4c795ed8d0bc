'use strict';
// The server side of the dashboard: the page, the feed of server-sent events, and "who am I" for the app's own page.
// Shows what it is given to clients that may see it; knows neither the guest library nor the rules. The page is
// autoscale/dashboard.html.

const { timingSafeEqual } = require('node:crypto');
const { addressOf } = require('./headers');
const { shared } = require('./shared');

const PREFIX = '/_gridcentric';
const HISTORY = 900; // points kept for the charts of pages opened later
const EVENTS = 60;
const READERS = 64;
const SLOW_READER_BYTES = 1 << 20; // a page with more unread is disconnected
const AT_MOST_EVERY_MS = 100;
const TOKEN_COOKIE = 'gridcentric-dashboard';
const LOOPBACK = /^(127\.|::1$|::ffff:127\.)/;

class Dashboard {
  /**
   * @param admits the option `dashboard`  @param trusted the option `trustProxy`
   * @param snapshot () => the state as docs/autoscale.md describes it  @param me (request) => the caller's identity
   */
  constructor({ admits, trusted, snapshot, me, clock }) {
    Object.assign(this, { admits, trusted, snapshot, me, clock });
    this.started = clock();
    this.page = admits ? shared('dashboard.html') : null;
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
    if (!this.admits) return reply(response, 404, { error: 'the dashboard is off (option dashboard)' });
    const refusal = this.#refusal(request, response);
    if (refusal) return reply(response, 403, { error: refusal });
    if (path === PREFIX || path === `${PREFIX}/`) return this.#page(request, response);
    if (path === `${PREFIX}/state`) return reply(response, 200, this.#full());
    if (path === `${PREFIX}/events`) return this.#subscribe(request, response);
    return reply(response, 404, { error: `there is ${PREFIX}, ${PREFIX}/state, ${PREFIX}/events and ${PREFIX}/me` });
  }

  /** Adds an event to the list shown. */
  note(kind, text) {
    this.events.push({ t: this.#now(), kind, text });
    if (this.events.length > EVENTS) this.events.shift();
    this.changed();
  }

  /** Adds a point to the chart. */
  point(users, clones) {
    this.history.push([this.#now(), users, clones]);
    if (this.history.length > HISTORY) this.history.shift();
    this.changed();
  }

  /** Tells all pages, soon. */
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

  /** Why this request may not see the dashboard; undefined if it may. */
  #refusal(request, response) {
    if (this.admits === true) {
      return isLocal(request, this.trusted) ? undefined
        : 'the dashboard can only be opened from this computer: open it as localhost, or set the option dashboard to { token } or a function';
    }
    if (typeof this.admits === 'function') {
      let admitted = false;
      try { admitted = this.admits(request) === true; } catch { /* a failing function admits nobody */ }
      return admitted ? undefined : 'access to the dashboard is denied (option dashboard)';
    }
    const { token } = this.admits;
    const asked = new URLSearchParams(request.url.split('?')[1]).get('token');
    const carried = new RegExp(`(?:^|;\\s*)${TOKEN_COOKIE}=([^;]*)`).exec(request.headers.cookie ?? '')?.[1];
    const bearer = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (![asked, bearer, carried === undefined ? null : decode(carried)].some((given) => given && equal(given, token))) {
      return 'the dashboard needs its token: /_gridcentric?token=...';
    }
    // So that the page's own requests carry it.
    if (asked) response.setHeader('set-cookie', `${TOKEN_COOKIE}=${encodeURIComponent(token)}; Path=${PREFIX}; HttpOnly; SameSite=Strict`);
    return undefined;
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

/** Whether the request comes from this computer, and not through an untrusted front proxy on it. */
function isLocal(request, trusted) {
  const relayed = request.headers['x-forwarded-for'] !== undefined || request.headers.forwarded !== undefined;
  return (trusted || !relayed) && LOOPBACK.test(addressOf(request, trusted));
}

function equal(given, token) {
  const [a, b] = [Buffer.from(given), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function decode(text) {
  try { return decodeURIComponent(text); } catch { return undefined; }
}

function reply(response, status, body, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers });
  response.end(`${JSON.stringify(body)}\n`);
}

module.exports = { Dashboard };
