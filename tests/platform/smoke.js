'use strict';
// A Node program that clones itself into three, with what Node programs have: timers, worker threads, servers, open files,
// the thread pool, random numbers. See README.md. It must not know what runs it.
const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const dns = require('node:dns').promises;
const fs = require('node:fs').promises;
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { Worker } = require('node:worker_threads');
const gridcentric = require('gridcentric');

const CLONES = 3;
const rounds = Number(process.argv[2] ?? 3);
let passed = 0;
let mode;
function ok(what) {
  ++passed;
  console.log(`ok ${what}`);
}

/** The response to a GET on a separate connection, as text. */
function get(host, port, page) {
  return new Promise((resolve, reject) => {
    const request = http.get({ host, port, path: page, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece) => (text += piece)).on('end', () => resolve(text)).on('error', reject);
    });
    request.on('error', reject);
  });
}

const draws = () => [crypto.randomUUID(), crypto.randomBytes(16).toString('hex'), String(Math.random())];

/** A worker thread that has drawn a number, counts in its own interval, and answers with both. */
function startWorker() {
  const worker = new Worker(`
    const crypto = require('node:crypto');
    const { parentPort } = require('node:worker_threads');
    require(${JSON.stringify(require.resolve('gridcentric'))}); // its numbers differ in each clone from here on
    let ticks = 0;
    setInterval(() => ++ticks, 5);
    crypto.randomUUID();
    Math.random();
    parentPort.on('message', (after) => {
      const wait = setInterval(() => {
        if (ticks <= after) return;
        clearInterval(wait);
        parentPort.postMessage([ticks, crypto.randomUUID(), String(Math.random())]);
      }, 1);
    });`, { eval: true });
  const ask = (after) => new Promise((resolve, reject) => {
    worker.once('error', reject).once('message', resolve);
    worker.postMessage(after);
  });
  return { ask, stop: () => worker.terminate() };
}

async function round(folder) {
  const state = new Map(Array.from({ length: 10000 }, (_, n) => [n, `value ${n}`]));
  const file = path.join(folder, 'file');
  await fs.writeFile(file, 'abcdefgh');
  const handle = await fs.open(file);
  const read = async () => (await handle.read(Buffer.alloc(4), 0, 4)).buffer.toString();
  assert.equal(await read(), 'abcd');

  let visits = 40;
  let told;
  const over = new Promise((resolve) => (told = resolve)); // somebody has asked for the page /end
  const server = http.createServer(({ url }, response) => {
    response.end(`${gridcentric.vmid()} ${++visits}`, () => url === '/end' && told());
  });
  await new Promise((resolve) => server.listen(0, '0.0.0.0', resolve));
  const { port } = server.address();
  let ticks = 0;
  const interval = setInterval(() => ++ticks, 5);
  const timeout = new Promise((resolve) => setTimeout(() => resolve('struck'), 150));
  const workers = [startWorker(), startWorker()];
  const [[before]] = await Promise.all(workers.map(({ ask }) => ask(0)));
  const pid = process.pid;
  const handled = [];
  const handler = (vmid) => handled.push(vmid);
  gridcentric.on('clone', handler);

  const ticket = await gridcentric.request_ticket(CLONES, CLONES, 1, 10000);
  const vmid = await gridcentric.clone(ticket);
  const then = ticks;
  const asked = await Promise.all(workers.map(({ ask }) => ask(before)));
  const { address } = await dns.lookup('localhost', { family: 4 });
  const struck = await timeout;
  while (ticks <= then) await new Promise(setImmediate);
  const own = {
    handled, address, struck, read: await read(), state: state.get(9999), samePid: process.pid === pid, ip: gridcentric.my_ip(),
    vmid: gridcentric.vmid(), master: gridcentric.ismaster(), draws: [...draws(), ...asked.flatMap(([, ...drawn]) => drawn)],
  };
  if (vmid > 0) {
    await gridcentric.sync();
    await over;
    await gridcentric.join(JSON.stringify({ ...own, visits }));
  }

  await gridcentric.sync(ticket, 60000);
  const domains = (await gridcentric.list_domains()).filter((one) => one.ticket === ticket && one.vmid > 0);
  assert.equal(domains.length, CLONES);
  for (const domain of domains) {
    assert.equal(await get(domain.ip, port, '/'), `${domain.vmid} 41`, 'a clone answers on its own address');
  }
  assert.equal(await get('127.0.0.1', port, '/'), '0 41', 'the master answers on its own');
  await Promise.all(domains.map(({ ip }) => get(ip, port, '/end')));
  ok('servers on addresses of their own');
  const ends = await gridcentric.wait(ticket, 60000);
  assert.deepEqual(ends.map(({ how }) => how), Array(CLONES).fill('joined'));
  const clones = ends.map(({ report }) => JSON.parse(report.toString()));
  ok('barrier, join and wait');

  assert.deepEqual(clones.map((one) => [one.vmid, one.master, one.ip]), domains.map((one) => [one.vmid, false, one.ip]));
  assert.equal(own.master, true);
  ok('identity');
  for (const one of clones) {
    assert.deepEqual([one.handled, one.state, one.read, one.visits], [[one.vmid], 'value 9999', 'efgh', 42]);
  }
  ok('memory, files and handlers');
  assert.deepEqual(clones.map((one) => [one.struck, one.address]), Array(CLONES).fill(['struck', '127.0.0.1']));
  ok('timers, worker threads and the thread pool');
  const drawn = [own, ...clones].flatMap((one) => one.draws);
  assert.equal(drawn.length, 7 * (CLONES + 1));
  assert.equal(new Set(drawn).size, drawn.length, `numbers repeat: ${drawn.sort()}`);
  ok('random numbers');
  mode = clones.every((one) => one.samePid) ? 'pidns' : 'plain';

  clearInterval(interval);
  gridcentric.off('clone', handler);
  await Promise.all(workers.map(({ stop }) => stop()));
  await handle.close();
  await new Promise((resolve) => server.close(resolve));
}

async function main() {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'gridcentric-smoke-'));
  try {
    for (let n = 0; n < rounds; ++n) await round(folder);
  } finally {
    await fs.rm(folder, { recursive: true, force: true });
  }
  console.log(`mode ${mode}`);
  console.log(`${passed} passed`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
