'use strict';
// require('gridcentric/autoscale'): turns an HTTP server in this process into a service that clones itself.
// docs/autoscale.md describes it; start reading at autoscaler.js.

const { readOptions } = require('./options');
const { Autoscaler } = require('./autoscaler');

/**
 * Make this process the master of a family: a proxy on listenPort that routes each user to a clone of the app on appPort.
 * @param {number} listenPort the port for clients
 * @param {number} appPort the port on which the app in this process already listens
 * @param {object} [options] see docs/autoscale.md
 * @returns {Autoscaler} with `ready` (a promise: the proxy listens), `state()`, `close()` and `cutOff()`
 * @throws {TypeError} naming the invalid argument
 */
function setup(listenPort, appPort, options) {
  const read = readOptions(listenPort, appPort, options);
  // Without the proxy clones have no users, so they end with the master, however it ends.
  process.env.GRIDCENTRIC_ON_MASTER_EXIT ??= 'end';
  return new Autoscaler(read);
}

module.exports = { setup };
