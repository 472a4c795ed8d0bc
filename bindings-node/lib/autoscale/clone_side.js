'use strict';
// The part of autoscale that runs in a clone: two answers for the master on the port that is the proxy's in the master,
// "I am alive, and I am clone 3" and "I am ending now". The clone's inherited proxy connections are dead and are dropped.

const { timingSafeEqual } = require('node:crypto');
const guest = require('..');

const CONTROL_PATH = '/_gridcentric/';
const TOKEN_HEADER = 'x-gridcentric-token';

/** Answer a request on a clone's control port. */
function answer(request, response, token) {
  const say = (status, body) => {
    response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
    response.end(`${JSON.stringify(body)}\n`);
  };
  const vmid = guest.vmid();
  if (request.method === 'GET' && request.url === `${CONTROL_PATH}health`) return say(200, { vmid });
  if (request.method === 'POST' && request.url === `${CONTROL_PATH}join`) {
    if (!knows(request.headers[TOKEN_HEADER], token)) return say(403, { error: 'only the master may ask for this' });
    // After the answer has been sent (or its reader is gone), because join does not return.
    response.once('close', () => guest.join('drained'));
    return say(202, { vmid });
  }
  return say(421, { error: `this is clone ${vmid}; the service is at the master's address` });
}

/**
 * A signal has come. The master has probably got it too (Ctrl-C) and ends this clone when nobody needs it any more; it
 * ends by itself after `limit` ms.
 */
function stop(limit) {
  setTimeout(() => guest.join('stopped'), limit);
}

function knows(given, token) {
  const text = Buffer.from(given ?? '');
  return text.length === token.length && timingSafeEqual(text, Buffer.from(token));
}

module.exports = { answer, stop, CONTROL_PATH, TOKEN_HEADER };
