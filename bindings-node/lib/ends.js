'use strict';
// In a clone, inherited connections have ended, and the program learns of this as of any end: in turns of the event loop.
// Until it has, a pool would use one of them for its next request.
const { native } = require('./native.js');

/** After this many turns without a change to any of them there will be none: an end, shutdown, 'close'. */
const QUIET_TURNS = 3;
/** Enough for every way of closing; a stream that never finishes must not hold a clone forever. */
const MOST_TURNS = 200;

/** Calls then() when this thread's streams whose peer is gone have notified their owners. */
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
