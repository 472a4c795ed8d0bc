'use strict';
// Sessions of socket.io, by which clients without a cookie jar (most, outside of browsers) are recognised: the server names the
// session in its answer to a client's first poll, and what follows brings it in its query. Knows no more of the protocol than this
// (socket.io's "Engine.IO protocol", the handshake). gridcentric/autoscale/sessions.py is its twin.

const MOST = 100_000;
const NAMED = /^(?:\d+:)?0\{"sid":"([^"\\]{1,128})"/; // version 3 puts the length before it

/** Of a request of socket.io's, or undefined. */
function query({ url }) {
  const at = url.indexOf('?');
  return at >= 0 && url.includes('EIO=', at) ? new URLSearchParams(url.slice(at + 1)) : undefined;
}

class Sessions {
  constructor() {
    this.users = new Map(); // session -> id of its user; oldest first
  }

  /** The id of the user whose session the request belongs to; undefined if there is none. */
  userOf(request) {
    return this.users.get(query(request)?.get('sid') ?? '');
  }

  /** What is to be called with the beginning of the answer's body, if that may name a session. */
  listener(request, user) {
    const asked = query(request);
    if (!asked || asked.has('sid')) return undefined;
    return (chunk) => {
      const session = NAMED.exec(chunk.toString('latin1', 0, 256))?.[1];
      if (session === undefined) return;
      if (this.users.size >= MOST) this.users.delete(this.users.keys().next().value);
      this.users.set(session, user.id);
    };
  }
}

module.exports = { Sessions };
