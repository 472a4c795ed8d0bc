'use strict';
// Node's cluster: a program of several processes that share their listening sockets, of which only one would be cloned. It is
// refused, by name, before anybody is stopped.
const { isLoaded } = require('./builtins.js');

/** Why this process can't be cloned; undefined: not because of a cluster. */
function refusalOfCluster() {
  if (!isLoaded('cluster')) return undefined; // a worker has loaded it before the program begins
  const cluster = /** @type {any} */ (require('node:cluster'));
  if (cluster.isWorker) {
    return (
      `this process is worker ${cluster.worker?.id} of a cluster: its listening sockets and its connection are the primary's, ` +
      'and a clone would end as it loses them. Clone a process that is not in a cluster'
    );
  }
  const workers = Object.keys(cluster.workers ?? {}).length;
  if (workers === 0) return undefined;
  return (
    `this process is the primary of a cluster of ${workers} worker${workers === 1 ? '' : 's'}, which would stay the master's, and its ` +
    'listening sockets with them. Clone before cluster.fork(), or when the workers have ended'
  );
}

/** What explain() says of it, with what the addon has found. */
function explained(found) {
  const refusal = refusalOfCluster();
  if (!refusal) return found;
  return { can_clone: false, report: `${found.report.replace(/^can be cloned/, 'can not be cloned')}refused: ${refusal}\n` };
}

module.exports = { refusalOfCluster, explained };
