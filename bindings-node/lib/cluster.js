'use strict';
// Node's cluster: several processes share their listening sockets, and only one of them would be cloned. Such a process is
// refused, by name, before any thread is stopped; not if `gc run --tree` has started it, and all processes are cloned.
const { isLoaded } = require('./builtins.js');

/** Why the cluster forbids cloning this process; undefined if it does not. */
function refusalOfCluster() {
  if (!isLoaded('cluster')) return undefined; // in a worker it is loaded before the program starts
  const cluster = /** @type {any} */ (require('node:cluster'));
  if (cluster.isWorker) {
    return (
      `this process is worker ${cluster.worker?.id} of a cluster: its listening sockets and its connection belong to the primary, ` +
      'and a clone would exit when it loses them. Clone a process that is not in a cluster'
    );
  }
  if (process.env.GRIDCENTRIC_TREE !== undefined) return undefined; // `gc run --tree`: the workers are cloned too
  const workers = Object.keys(cluster.workers ?? {}).length;
  if (workers === 0) return undefined;
  return (
    `this process is the primary of a cluster of ${workers} worker${workers === 1 ? '' : 's'}, which would stay with the master, and its ` +
    'listening sockets with them. Start the program by gc run --tree, or clone before cluster.fork() or after the workers have ended'
  );
}

/** The addon's findings for explain(), with the cluster's added. */
function explained(found) {
  const refusal = refusalOfCluster();
  if (!refusal) return found;
  return { can_clone: false, report: `${found.report.replace(/^can be cloned/, 'can not be cloned')}refused: ${refusal}\n` };
}

module.exports = { refusalOfCluster, explained };
