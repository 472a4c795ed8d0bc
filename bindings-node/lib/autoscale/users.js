'use strict';
// Which user a request belongs to: by the proxy's cookie (the default), a header, the address, or a function. Where the cookie is
// not kept, by a session of socket.io's. Knows requests; nothing of clones. gridcentric/autoscale/users.py is its twin.

const { addressOf } = require('./headers');
const { isId, Refused } = require('./policy');
const { Sessions } = require('./sessions');

const COOKIE = 'gridcentric';
const LONGEST_NAME = 256;

function cookieOf(request) {
  for (const pair of (request.headers.cookie ?? '').split(';')) {
    const [name, value] = pair.trim().split('=', 2);
    if (name === COOKIE) return value;
  }
  return undefined;
}

class Users {
  /** @param users, trustProxy: the options */
  constructor({ users, trustProxy }) {
    this.by = users;
    this.trusted = trustProxy;
    this.sessions = new Sessions();
  }

  /** { id, given }: `given` is the name of a user that needs no cookie; otherwise `id` is the cookie's contents, if it is ours. */
  of(request) {
    const id = cookieOf(request);
    if (this.by === 'cookie') return { id: isId(id ?? '') ? id : this.sessions.userOf(request) };
    const given = this.#given(request);
    return given === undefined || given === null || given === '' ? {} : { given: `=${String(given).slice(0, LONGEST_NAME)}` };
  }

  #given(request) {
    if (this.by === 'address') return addressOf(request, this.trusted);
    if (typeof this.by === 'object') return request.headers[this.by.header.toLowerCase()];
    try {
      return this.by(request);
    } catch (error) {
      throw new Refused(`the users function failed: ${error?.message ?? error}`);
    }
  }

  /** What is to be called with the beginning of the answer's body, if that may tell how to recognise the user; or undefined. */
  listener(request, user) {
    return this.by === 'cookie' && !user.confirmed ? this.sessions.listener(request, user) : undefined;
  }

  /** The Set-Cookie of a response to this user; undefined if it needs none. */
  cookie(user) {
    return this.by === 'cookie' && !user.confirmed ? `${COOKIE}=${user.id}; Path=/; HttpOnly; SameSite=Lax` : undefined;
  }
}

module.exports = { Users };
