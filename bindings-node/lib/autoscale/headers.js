'use strict';
// Which headers of a request are forwarded to a clone, which of its response to the client, and what the proxy adds
// (RFC 9110, section 7.6; X-Forwarded-*). Header lists have the form of Node's rawHeaders: name, value, name, value, ...
// Knows no clones, users or sockets. gridcentric/autoscale/headers.py is its twin.

// Hop-by-hop headers, whether or not Connection names them. The proxy's own server answers Expect.
const HOP_BY_HOP = new Set([
  'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'http2-settings', 'expect',
]);
// What a front proxy says about the client. Anybody can send these: they are forwarded only from a trusted front proxy.
const OF_A_FRONT = new Set(['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-proto', 'x-real-ip']);

// Whatever Connection names, these stay: where a body ends must not be for a client to hide from the clone.
const NEVER_NAMED = new Set(['content-length', 'host']);
const HOST = /^[\w.~%!$&'()*+,;=:[\]-]*$/;

const tokens = (value) => (value ?? '').toLowerCase().split(',').map((token) => token.trim()).filter(Boolean);

/** Why a request is refused as malformed; undefined if it is not. */
function fault(request) {
  const { url, httpVersion, rawHeaders, headers } = request;
  if (!url.startsWith('/')) return `the path is '${url.slice(0, 80)}', expected one that begins with /`;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return `the version is HTTP/${httpVersion}, expected HTTP/1.1 or HTTP/1.0`;
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) if (rawHeaders[i].toLowerCase() === 'host') hosts++;
  if (hosts > 1) return `there are ${hosts} Host headers, expected one`;
  if (!HOST.test(headers.host ?? '')) return `the Host is '${headers.host.slice(0, 80)}', expected a name or an address, and a port`;
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || httpVersion === '1.0')) {
    return `the Transfer-Encoding is '${coding.slice(0, 80)}' in HTTP/${httpVersion}, expected chunked in HTTP/1.1`;
  }
  const body = coding !== undefined || Number(headers['content-length'] ?? 0) > 0;
  return body && wantsWebSocket(request) ? 'the request for a WebSocket has a body, expected none' : undefined;
}

/** Whether the request asks for a WebSocket. Other upgrades are ignored (RFC 9110, section 7.8). */
function wantsWebSocket(request) {
  return request.method === 'GET' && request.headers.upgrade?.toLowerCase() === 'websocket';
}

/** The client's address: what a trusted front proxy says, otherwise the connection's. */
function addressOf(request, trusted) {
  const said = trusted && (request.headers['x-forwarded-for'] ?? '').split(',').at(-1).trim();
  return said || request.socket.remoteAddress || '';
}

function endToEnd(rawHeaders, dropped, connection) {
  const named = new Set(tokens(connection).filter((name) => !NEVER_NAMED.has(name)));
  const kept = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i].toLowerCase();
    if (!HOP_BY_HOP.has(name) && !named.has(name) && !dropped?.has(name)) kept.push(rawHeaders[i], rawHeaders[i + 1]);
  }
  return kept;
}

/** The headers of a request, as sent to a clone. The caller adds a WebSocket's Connection and Upgrade. */
function towardsClone(request, trusted) {
  const { headers, socket } = request;
  const kept = endToEnd(request.rawHeaders, OF_A_FRONT, headers.connection);
  const peer = socket.remoteAddress ?? '';
  const said = (name) => (trusted ? headers[name] : undefined);
  const before = said('x-forwarded-for');
  kept.push('X-Forwarded-For', before ? `${before}, ${peer}` : peer);
  kept.push('X-Forwarded-Host', said('x-forwarded-host') ?? headers.host ?? '');
  kept.push('X-Forwarded-Port', said('x-forwarded-port') ?? String(socket.localPort ?? ''));
  kept.push('X-Forwarded-Proto', said('x-forwarded-proto') ?? (socket.encrypted ? 'https' : 'http'));
  for (const name of ['forwarded', 'x-real-ip']) if (said(name)) kept.push(name, headers[name]);
  return kept;
}

/** The headers of a clone's response, as sent to the client. */
const towardsClient = (answer) => endToEnd(answer.rawHeaders, undefined, answer.headers.connection);

/** The head of a request without its upgrade, as bytes for the server to parse again. */
function withoutUpgrade({ method, url, httpVersion, rawHeaders, headers }) {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i].toLowerCase();
    if (name !== 'upgrade' && name !== 'http2-settings' && name !== 'connection') lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
  }
  const left = tokens(headers.connection).filter((token) => token !== 'upgrade' && token !== 'http2-settings');
  if (left.length) lines.push(`Connection: ${left.join(', ')}`);
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}

module.exports = { fault, wantsWebSocket, addressOf, towardsClone, towardsClient, withoutUpgrade };
