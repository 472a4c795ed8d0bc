'use strict';
// The adapter for Node: `node.js MODULE promise|callback` makes each call in that form.
// Reads calls as JSON lines and writes replies as JSON lines, on stdin and stdout or on the channel that README.md describes.
// It must not know what a call means: it hands arguments on and puts results into the form that all languages share.
const net = require('node:net');
const readline = require('node:readline');

const [, , path, form] = process.argv;
const gridcentric = require(path);
const controllers = new Map(); // ID of an open call -> what cancels it

const QUICK = new Set(['vmid', 'ismaster', 'my_ip']);
const BYTES = new Set(['join', 'noreport']);
const ticket = (info) => [info.id, info.status, info.cpus, info.vms, info.mincpuspervm];
const VALUES = {
  request_ticket: (id) => id,
  list_tickets: (list) => list.map(ticket),
  ticket_info: ticket,
  prepare: (mib) => mib,
  clone: (vmid) => vmid,
  list_domains: domains,
  clone_of: domains,
  wait: results,
  wait_forget: results,
};

function domains(list) {
  return list.map((d) => [d.vmid, d.parent === -1 ? null : d.parent, d.ip, d.ticket, d.state]);
}

function results(list) {
  return list.map((r) => [r.vmid, r.how, r.status, r.report === undefined ? null : r.report.toString('base64')]);
}

function argument(value) {
  if (typeof value !== 'object' || value === null) return value;
  return { nan: NaN, inf: Infinity, '-inf': -Infinity }[value.float];
}

const channelPath = process.env.CONFORMANCE_CHANNEL;
let domain; // whose channel it is; undefined: of one that has not attached yet
let out = process.stdout;

/** Where clones are real each domain has its own connection: that of the master is at its end in a clone. */
function openChannel() {
  out = net.connect(channelPath);
  out.on('error', () => {}); // what is written to the master's connection in a clone
  out.write(`${JSON.stringify({ id: 0, ok: domain ?? null })}\n`);
  listen(out);
}

/** In a clone, who comes first opens the clone's own. */
function own() {
  if (domain === undefined || !channelPath || gridcentric.vmid() === domain) return out;
  domain = gridcentric.vmid();
  openChannel();
  return out;
}

function listen(input) {
  const lines = readline.createInterface({ input });
  lines.on('line', (line) => run(JSON.parse(line)));
  lines.on('close', own);
}

function answer(id, reply) {
  own().write(`${JSON.stringify({ id, ...reply })}\n`); // to a pipe: synchronous
}

function failed(id, error) {
  const code = error.name === 'AbortError' ? 'cancelled' : error.code;
  answer(id, { error: code ?? `unexpected_${error.name.toLowerCase()}`, text: error.message });
}

function succeeded(id, verb, value) {
  answer(id, { ok: verb in VALUES ? VALUES[verb](value) : null });
}

/** Begins a call that waits, in the chosen form. */
function begin(id, name, args, verb) {
  const controller = new AbortController();
  controllers.set(id, controller);
  const options = { signal: controller.signal, ...(verb === 'wait_forget' && { forget: true }) };
  if (form === 'promise') {
    gridcentric[name](...args, options).then(
      (value) => succeeded(id, verb, value),
      (error) => failed(id, error),
    );
    return;
  }
  gridcentric[name](...args, options, (value, error) => {
    if (error === undefined) succeeded(id, verb, value);
    else if (verb === 'clone' ? value < 0 : value === undefined) failed(id, error);
    else answer(id, { error: 'unexpected_result', text: `${value} with ${error}` });
  });
}

let prepared = 0; // how often a handler of on('before') has run

/** Registers a handler that refuses as many clones; with promises it is asynchronous. */
function refuse(times) {
  const handler = () => {
    ++prepared;
    if (times-- > 0) throw Object.assign(new Error('refused'), { code: 'clone_failed', errno: 11 });
  };
  gridcentric.on('before', form === 'promise' ? async () => handler() : handler);
}

function run({ id, call, args: given }) {
  const args = given.map(argument);
  try {
    if (call === 'attach') {
      if (args[0]) process.env.GRIDCENTRIC_ATTACH = args[0];
      domain = gridcentric.vmid();
      answer(id, { ok: domain });
    } else if (call === 'refuse') {
      refuse(...args);
      answer(id, { ok: null });
    } else if (call === 'prepared') {
      answer(id, { ok: prepared });
    } else if (call === 'exit') {
      process.exit(args[0]);
    } else if (call === 'crash') {
      setImmediate(() => {
        throw new Error('told to crash');
      });
    } else if (call === 'cancel') {
      controllers.get(args[0]).abort();
      answer(id, { ok: null });
    } else if (QUICK.has(call)) {
      answer(id, { ok: gridcentric[call]() });
    } else if (BYTES.has(call)) {
      const report = args.map((text) => (typeof text === 'string' ? Buffer.from(text, 'base64') : text));
      begin(id, call === 'noreport' ? 'join_noreport' : 'join', report, call);
    } else {
      begin(id, call === 'wait_forget' ? 'wait' : call, args, call);
    }
  } catch (error) {
    failed(id, error); // a wrong argument throws at once
  }
}

if (channelPath) openChannel();
else listen(process.stdin);
