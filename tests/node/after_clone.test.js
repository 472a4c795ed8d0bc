'use strict';
// The state of a Node program's clone right after the clone, on the process hypervisor, in its default mode and in plain
// mode: random numbers, handlers first, its pid, nothing printed twice, calls in flight, worker threads.
const assert = require('node:assert/strict');
const { inBothModes, prelude } = require('./family.js');

const CLONES = 32;

inBothModes('every generator of random numbers gives each domain numbers of its own', async (run) => {
  const stdout = await run(`
    const crypto = require('node:crypto');
    const { promisify } = require('node:util');
    const random = Math.random; // a reference from before the clone
    const generators = {
      'Math.random': () => random(),
      randomUUID: () => crypto.randomUUID(),
      randomInt: () => crypto.randomInt(2 ** 47),
      'randomInt, asynchronous': () => promisify(crypto.randomInt)(2 ** 47),
      randomBytes: () => crypto.randomBytes(16).toString('hex'),
      'randomBytes, asynchronous': async () => (await promisify(crypto.randomBytes)(16)).toString('hex'),
      getRandomValues: () => Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('hex'),
      'webcrypto.randomUUID': () => crypto.webcrypto.randomUUID(),
      generateKey: async () => (await promisify(crypto.generateKey)('hmac', { length: 128 })).export().toString('hex'),
    };
    async function draw() {
      const drawn = {};
      for (const [name, next] of Object.entries(generators)) drawn[name] = [await next(), await next(), await next()];
      return drawn;
    }
    draw().then(() => family(${CLONES}, draw)).then((all) => console.log(JSON.stringify(all)));`);
  const all = JSON.parse(stdout);
  assert.equal(all.length, CLONES + 1);
  for (const name of Object.keys(all[0])) {
    const numbers = all.flatMap((domain) => domain[name]);
    assert.equal(new Set(numbers).size, 3 * (CLONES + 1), `${name}: ${numbers}`);
  }
});

inBothModes("handlers run in each clone, in order, before any other JavaScript and before clone()'s result", async (run) => {
  const stdout = await run(`
    const seen = [];
    const removed = () => seen.push('removed');
    gridcentric.on('clone', (vmid) => seen.push(vmid === gridcentric.vmid() ? 'first' : 'wrong vmid'));
    gridcentric.on('clone', removed);
    gridcentric.on('clone', () => seen.push('second'));
    gridcentric.off('clone', removed);
    setImmediate(function spin() { // detects a turn of the clone's loop before the handlers
      if (gridcentric.vmid() > 0 && seen.length === 0) seen.push('early');
      setImmediate(spin).unref();
    });
    family(3, () => [...seen]).then((all) => { console.log(JSON.stringify(all)); process.exit(); });`);
  assert.deepEqual(JSON.parse(stdout), [[], ...Array(3).fill(['first', 'second'])]);
});

inBothModes('an exception of a handler is an uncaught one, the other handlers run', async (run) => {
  const stdout = await run(`
    const seen = [];
    process.on('uncaughtException', (error) => seen.push(error.message));
    gridcentric.on('clone', () => { throw new Error('of the handler'); });
    gridcentric.on('clone', () => seen.push('other'));
    family(1, () => seen).then((all) => console.log(JSON.stringify(all)));`);
  assert.deepEqual(JSON.parse(stdout), [[], ['other', 'of the handler']]);
});

inBothModes('process.pid is the pid', async (run) => {
  const stdout = await run(`
    const own = () => [process.pid, Number(require('node:child_process').execFileSync('sh', ['-c', 'echo $PPID']))];
    family(2, own).then((all) => console.log(JSON.stringify(all)));`);
  for (const [said, real] of JSON.parse(stdout)) assert.equal(said, real);
});

inBothModes('what was written before the clone is written once', async (run) => {
  const stdout = await run(`
    process.stdout.write('x'.repeat(300000) + '\\n');
    console.log('before');
    family(2, () => 0).then(() => console.log('after'));`);
  assert.equal(stdout.replace(/x{300000}/, 'x'), 'x\nbefore\nafter\n');
});

inBothModes('a call that is open goes on in the master and fails in the clones', async (run) => {
  const stdout = await run(`
    (async () => {
      const all = await gridcentric.request_ticket(4, 4, 1, 0);
      const waiting = gridcentric.request_ticket(1, 1, 1, -1).then((ticket) => typeof ticket, (error) => error.code);
      const vmid = await gridcentric.clone(all);
      if (vmid > 0) return gridcentric.join(await waiting);
      console.log((await gridcentric.wait(all)).map(({ report }) => report.toString()), await waiting);
    })();`, { env: { GRIDCENTRIC_CPUS: '4' } });
  assert.equal(stdout.replace(/\s+/g, ' '), `[ ${Array(4).fill("'interrupted_by_clone'").join(', ')} ] string `);
});

inBothModes('timers, promises and worker threads go on in master and clones', async (run) => {
  const stdout = await run(`
    const { Worker } = require('node:worker_threads');
    const worker = new Worker(\`
      let sum = 0;
      require('node:worker_threads').parentPort.on('message', (n) => {
        sum += n;
        require('node:worker_threads').parentPort.postMessage(sum);
      });\`, { eval: true });
    const ask = (n) => new Promise((resolve) => { worker.once('message', resolve); worker.postMessage(n); });
    let ticks = 0;
    const timer = setInterval(() => { ++ticks; }, 1);
    const tick = (least) => new Promise((resolve) => {
      const again = setInterval(() => { if (ticks >= least) { clearInterval(again); resolve(); } }, 1);
    });
    ask(40).then(() => tick(3)).then(() => family(3, async () => { const now = ticks; await tick(now + 3); return ask(2); }))
      .then(async (all) => { console.log(JSON.stringify(all)); clearInterval(timer); await worker.terminate(); });`);
  assert.deepEqual(JSON.parse(stdout), [42, 42, 42, 42]);
});

inBothModes('a worker thread clones, and its handlers and the main thread\'s run', async (run) => {
  const stdout = await run(`
    const { Worker } = require('node:worker_threads');
    const shared = new Int32Array(new SharedArrayBuffer(4));
    gridcentric.on('clone', (vmid) => Atomics.store(shared, 0, vmid));
    const worker = new Worker(prelude + \`
      const { workerData, parentPort } = require('node:worker_threads');
      const seen = [];
      gridcentric.on('clone', (vmid) => seen.push(vmid));
      const random = Math.random;
      random();
      family(3, async (vmid) => {
        while (vmid && Atomics.load(workerData, 0) !== vmid) await new Promise((resolve) => setTimeout(resolve, 1));
        return [seen, random()];
      }).then((all) => parentPort.postMessage(all));\`, { eval: true, workerData: shared });
    worker.on('message', (all) => console.log(JSON.stringify(all)));`.replace('prelude', JSON.stringify(prelude)));
  const all = JSON.parse(stdout);
  assert.deepEqual(all.map(([seen]) => seen), [[], [1], [2], [3]]);
  assert.equal(new Set(all.map(([, random]) => random)).size, 4);
});
