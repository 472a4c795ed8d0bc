'use strict';
// The classic Node chat: one process, one room, everything in memory, on node:http alone.
//
//   POST /join {nick}           -> {id, nick, nicks, messages}    GET /who            -> {nicks}
//   GET  /recv?id=&since=       -> {messages}, once there are any GET /               -> the page
//   POST /send {id, text}       -> {n}                            POST /part {id}     -> {}

const http = require('node:http');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { randomBytes } = require('node:crypto');

const PORT = Number(process.env.CHAT_PORT ?? 8081);
const HISTORY = 200; // messages kept
const NICK = 30; // characters
const TEXT = 500;
const BODY = 4096; // bytes
const SESSIONS = 1000;
const IDLE_MS = 60000; // a user silent for this long has left
const POLL_MS = 25000; // how long /recv waits for a message

const page = readFileSync(join(__dirname, '..', 'chat-page', 'index.html'));
const sessions = new Map(); // id -> { id, nick, seen }
const messages = [];
const waiting = new Set(); // { since, send }
let last = 0; // number of the newest message

class Wrong extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

function say(type, nick, text = '') {
  const message = { n: ++last, time: Date.now(), type, nick, text };
  messages.push(message);
  if (messages.length > HISTORY) messages.shift();
  for (const reader of [...waiting]) reader.send([message]);
  return message;
}

const since = (n) => messages.filter((message) => message.n > n);
const nicks = () => [...sessions.values()].map((session) => session.nick);

/** A text of 1 to `longest` characters, without control characters and surrounding space. */
function words(name, value, longest) {
  if (typeof value !== 'string') throw new Wrong(400, `${name} is missing`);
  // eslint-disable-next-line no-control-regex
  const text = value.replace(/[\u0000-\u001f\u007f\u2028\u2029\u202a-\u202e]+/g, ' ').trim();
  if (!text) throw new Wrong(400, `${name} is empty`);
  if ([...text].length > longest) throw new Wrong(400, `${name} is longer than ${longest} characters`);
  return text;
}

function session(id) {
  const found = sessions.get(id);
  if (!found) throw new Wrong(404, 'you are not in the room: join first');
  found.seen = Date.now();
  return found;
}

const posts = {
  '/join'({ nick: wanted }) {
    const nick = words('nick', wanted, NICK);
    if (nicks().some((other) => other.toLowerCase() === nick.toLowerCase())) throw new Wrong(409, `${nick} is here already`);
    if (sessions.size >= SESSIONS) throw new Wrong(503, 'the room is full');
    const id = randomBytes(12).toString('hex');
    sessions.set(id, { id, nick, seen: Date.now() });
    say('join', nick);
    return { id, nick, nicks: nicks(), messages };
  },
  '/send'({ id, text }) {
    return { n: say('msg', session(id).nick, words('text', text, TEXT)).n };
  },
  '/part'({ id }) {
    const { nick } = session(id);
    sessions.delete(id);
    say('part', nick);
    return {};
  },
};

function receive(request, response, query) {
  const reader = session(query.get('id'));
  const from = Number(query.get('since') ?? last);
  if (!Number.isSafeInteger(from)) throw new Wrong(400, 'since is not a number');
  const send = (news) => {
    clearTimeout(timer);
    waiting.delete(entry);
    reader.seen = Date.now();
    reply(response, 200, { messages: news });
  };
  const entry = { send };
  const timer = setTimeout(send, POLL_MS, []);
  response.on('close', () => { clearTimeout(timer); waiting.delete(entry); });
  if (since(from).length) send(since(from));
  else waiting.add(entry);
}

async function body(request) {
  if (!/^application\/json\b/.test(request.headers['content-type'] ?? '')) throw new Wrong(415, 'expected application/json');
  let size = 0;
  const chunks = [];
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += chunk.length;
    if (size > BODY) throw new Wrong(413, `expected at most ${BODY} bytes`);
    chunks.push(chunk);
  }
  try {
    const value = JSON.parse(Buffer.concat(chunks));
    if (value && typeof value === 'object') return value;
  } catch { /* reported below */ }
  throw new Wrong(400, 'expected a JSON object');
}

function reply(response, status, value, type = 'application/json') {
  const headers = { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };
  response.writeHead(status, headers).end(type === 'application/json' ? JSON.stringify(value) : value);
}

async function handle(request, response) {
  const url = new URL(request.url, 'http://chat');
  if (request.method === 'POST' && Object.hasOwn(posts, url.pathname)) {
    return reply(response, 200, posts[url.pathname](await body(request)));
  }
  if (request.method !== 'GET') throw new Wrong(405, 'no such call');
  if (url.pathname === '/') return reply(response, 200, page, 'text/html');
  if (url.pathname === '/who') return reply(response, 200, { nicks: nicks() });
  if (url.pathname === '/recv') return receive(request, response, url.searchParams);
  throw new Wrong(404, 'no such page');
}

const server = http.createServer((request, response) => {
  handle(request, response).catch((error) => {
    if (request.errored || response.headersSent) return response.destroy();
    if (!(error instanceof Wrong) && !(error instanceof TypeError)) throw error;
    reply(response, error.status ?? 400, { error: error.message });
  });
});
server.listen(PORT, '127.0.0.1', () => console.log(`the chat listens on http://127.0.0.1:${PORT}`));

setInterval(() => {
  for (const { id, nick, seen } of sessions.values()) {
    if (Date.now() - seen < IDLE_MS) continue;
    sessions.delete(id);
    say('part', nick);
  }
}, 5000);

setTimeout(() => { require('gridcentric/autoscale').setup(8080, PORT); }, 3000);
