'use strict';
// The API for Node: names, arguments and forms. index.d.ts documents every call. Start reading here.
// Quick calls (vmid, ismaster, my_ip) are synchronous; all others take a callback last, called with the result first, or
// return a promise.
const { isMainThread } = require('node:worker_threads');
const { native } = require('./native.js');
const check = require('./arguments.js');
const { call } = require('./calls.js');
const { on, off } = require('./handlers.js');
const { takeOrders } = require('./orders.js');
const { output, prepare: beforeClone } = require('./before_clone.js');
const { explained } = require('./cluster.js');
const { afterEnds } = require('./ends.js');
const { rehearse } = require('./rehearsal.js');
const { repeating, strict } = require('./packages.js');

const { version, vmid, ismaster, my_ip } = native;

function request_ticket(...given) {
  rehearse(); // a ticket request is followed by a clone
  return call('request_ticket', check.parse('request_ticket', given, {
    maxcpus: check.count,
    minvms: check.count,
    mincpuspervm: check.count,
    timeout: check.timeout,
  }));
}

function release_ticket(...given) {
  return call('release_ticket', check.parse('release_ticket', given, { ticket: check.ticket }));
}

function prepare(...given) {
  return call('prepare', check.parse('prepare', given, { timeout: check.timeoutOrForEver }));
}

function list_tickets(...given) {
  return call('list_tickets', check.parse('list_tickets', given, {}));
}

function ticket_info(...given) {
  return call('ticket_info', check.parse('ticket_info', given, { ticket: check.ticket }));
}

function clone(...given) {
  const parsed = check.parse('clone', given, { ticket: check.ticket });
  parsed.values.push(strict() ? repeating() : []);
  return call('clone', parsed, {
    failed: (error) => -Math.abs(error.errno ?? 1),
    before: beforeClone,
    after: (vmid, then) => (vmid > 0 ? afterEnds(() => then(vmid)) : then(vmid)),
  });
}

function clone_of(...given) {
  return call('clone_of', check.parse('clone_of', given, { vmid: check.vmid, ticket: check.ticket }));
}

function serve(...given) {
  const parsed = check.parse('serve', given, {});
  takeOrders(clone);
  return call('serve', parsed);
}

function list_domains(...given) {
  return call('list_domains', check.parse('list_domains', given, {}));
}

function sync(...given) {
  return call('sync', check.parse('sync', given, { ticket: check.ticketOrNone, timeout: check.timeoutOrForEver }));
}

function join(...given) {
  const parsed = check.parse('join', given, { report: check.report });
  // join ends the process without exit handlers, so the program's output must be flushed first.
  return call('join', parsed, { before: output });
}

function join_noreport(...given) {
  const { options, done } = check.parse('join_noreport', given, {});
  return call('join', { values: [undefined], options, done }, { before: output });
}

function wait(...given) {
  const parsed = check.parse('wait', given, { ticket: check.ticket, timeout: check.timeoutOrForEver }, ['forget']);
  parsed.values.push(parsed.options.forget === true);
  return call('wait', parsed);
}

function kill(...given) {
  return call('kill', check.parse('kill', given, { vmid: check.count }));
}

function explain(...given) {
  const parsed = check.parse('explain', given, {});
  parsed.values.push(repeating());
  return call('explain', parsed, { after: (found, then) => then(explained(found)) });
}

if (isMainThread) takeOrders(clone);

module.exports = {
  version,
  vmid,
  ismaster,
  my_ip,
  request_ticket,
  release_ticket,
  prepare,
  list_tickets,
  ticket_info,
  clone,
  clone_of,
  serve,
  list_domains,
  sync,
  join,
  join_noreport,
  wait,
  kill,
  explain,
  on,
  off,
  isMaster: ismaster,
  myIp: my_ip,
  requestTicket: request_ticket,
  releaseTicket: release_ticket,
  listTickets: list_tickets,
  ticketInfo: ticket_info,
  cloneOf: clone_of,
  listDomains: list_domains,
  joinNoreport: join_noreport,
};
