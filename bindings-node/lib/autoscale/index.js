'use strict';
// require('gridcentric/autoscale'): turns an HTTP server in this process into a service that clones itself.
// docs/autoscale.md tells how; autoscaler.js is where to start reading.

const { readOptions } = require('./options');
const { Autoscaler } = require('./autoscaler');

/**
 * Make this process the master of a family: a proxy on listenPort that hands each user to a clone of the app on appPort.
 * @param {number} listenPort port for the world
 * @param {number} appPort port on which the app in this process listens already
 * @param {object} [options] see docs/autoscale.md
 * @returns {Autoscaler} with `ready` (a promise: the proxy listens), `state()` and `close()`
 * @throws {TypeError} a wrong argument, by name
 */
function setup(listenPort, appPort, options) {
  const read = readOptions(listenPort, appPort, options);
  // Clones have no users without the proxy: they end with the master however it ends.
  process.env.GRIDCENTRIC_ON_MASTER_EXIT ??= 'end';
  return new Autoscaler(read);
}

module.exports = { setup };
