'use strict';
// In a clone the connections that it inherited are at their end, and the program hears of that as of every end: in turns of the
// event loop. Until it has, a pool would take one of them for its next request.
const { native } = require('./native.js');

/** After as many turns in which nothing has happened to any of them, nothing more will: an end, shutdown, 'close'. */
const QUIET_TURNS = 3;
/** Enough for each way of closing; a stream that is never done does not keep a clone for ever. */
const MOST_TURNS = 200;

/** Calls then() when this thread's streams whose other side is gone have said so to their owners. */
function afterEnds(then) {
  let before;
  let quiet = 0;
  let turns = 0;
  const look = () => {
    const [now, unread] = native.unfinishedEnds();
    quiet = !unread && now === before ? quiet + 1 : 0;
    before = now;
    if (quiet === QUIET_TURNS || ++turns === MOST_TURNS) return void then();
    setImmediate(look);
  };
  look();
}

module.exports = { afterEnds };
