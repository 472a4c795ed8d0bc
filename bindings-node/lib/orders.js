'use strict';
// Carries out the orders of the host to clone, in the event loop of this thread. It must not know how a clone is made.
const { native } = require('./native.js');

/**
 * @param {(ticket: string) => Promise<number> | undefined} clone
 */
function takeOrders(clone) {
  native.takeOrders((/** @type {number} */ number, /** @type {string} */ ticket) => {
    Promise.resolve(clone(ticket)).then(
      () => native.orderDone(number),
      (error) => {
        const known = native.errors[error?.code] === error?.errno && error?.errno !== undefined;
        native.orderDone(number, known ? error.errno : native.errors.clone_failed, String(error?.message ?? error));
      },
    );
  });
}

module.exports = { takeOrders };
