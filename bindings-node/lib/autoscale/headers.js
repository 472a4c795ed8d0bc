'use strict';
// Which headers of a request go on to a clone, which of its answer to the client, and what the proxy says of itself in them
// (RFC 9110, section 7.6; X-Forwarded-*). Header lists are as node has them in rawHeaders: name, value, name, value, ...
// Knows no clones, users or sockets. gridcentric/autoscale/headers.py is its twin.

// Of one connection only, whether Connection names them or not. Expect is answered by the proxy's own server.
const HOP_BY_HOP = new Set([
  'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'http2-settings', 'expect',
]);
// What a front says of the client. Anybody can say it: it is passed on only when it comes from a front that is trusted.
const OF_A_FRONT = new Set(['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-proto', 'x-real-ip']);

const tokens = (value) => (value ?? '').toLowerCase().split(',').map((token) => token.trim()).filter(Boolean);

/** Why a request is refused as malformed; undefined when it is not. */
function fault(request) {
  if (!request.url.startsWith('/')) return `the path is '${request.url.slice(0, 80)}', expected one that begins with /`;
  let hosts = 0;
  for (let i = 0; i < request.rawHeaders.length; i += 2) if (request.rawHeaders[i].toLowerCase() === 'host') hosts++;
  return hosts > 1 ? `there are ${hosts} Host headers, expected one` : undefined;
}

/** Does it ask for a WebSocket? Other upgrades are answered as if they had not been asked for (RFC 9110, section 7.8). */
function wantsWebSocket(request) {
  return request.method === 'GET' && request.headers.upgrade?.toLowerCase() === 'websocket';
}

/** The address that the request comes from: of the client as a trusted front says, else of the connection. */
function addressOf(request, trusted) {
  const said = trusted && (request.headers['x-forwarded-for'] ?? '').split(',').at(-1).trim();
  return said || request.socket.remoteAddress || '';
}

function endToEnd(rawHeaders, dropped, connection) {
  const named = new Set(tokens(connection));
  const kept = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i].toLowerCase();
    if (!HOP_BY_HOP.has(name) && !named.has(name) && !dropped?.has(name)) kept.push(rawHeaders[i], rawHeaders[i + 1]);
  }
  return kept;
}

/** The headers of a request as they go to a clone. A WebSocket's Connection and Upgrade are the caller's to add. */
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

/** The headers of a clone's answer as they go to the client. */
const towardsClient = (answer) => endToEnd(answer.rawHeaders, undefined, answer.headers.connection);

/** The head of a request, with no upgrade in it, as bytes: to be read again by the server. */
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
