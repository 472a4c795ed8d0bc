'use strict';
// Threads unknown to gridcentric: workers that never loaded it, of any kind, busy or idle, and contexts of node:vm. In a clone all
// of them have their own random numbers.
const assert = require('node:assert/strict');
const { inBothModes } = require('./family.js');

const CLONES = 3;

const workers = `
  const { Worker } = require('node:worker_threads');
  const ask = (worker) => new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.postMessage('draw');
  });
  const draw = \`
    const random = Math.random;
    const ofContext = vm.runInContext('Math.random', vm.createContext({}));
    const draw = () => ({
      'Math.random': random(),
      'Math.random of a context': ofContext(),
      randomUUID: crypto.randomUUID(),
      randomInt: crypto.randomInt(2 ** 47),
      randomBytes: crypto.randomBytes(8).toString('hex'),
      getRandomValues: crypto.webcrypto.getRandomValues(new Uint8Array(8)).join(' '),
    });
    draw();\`;
  const commonjs = "const crypto = require('node:crypto'), vm = require('node:vm'), { parentPort } = require('node:worker_threads');";
  const module = "import crypto from 'node:crypto'; import vm from 'node:vm'; import { parentPort } from 'node:worker_threads';";
  const answer = "parentPort.on('message', () => parentPort.postMessage(draw()));";
  const spin = "(function spin() { for (let i = 0; i < 100; ++i) draw(); setImmediate(spin); })();";
  const url = new URL('data:text/javascript,' + encodeURIComponent(module + draw + answer));
  const nested = "const { Worker } = require('node:worker_threads'); const inner = new Worker(" + JSON.stringify(commonjs + draw + answer)
    + ", { eval: true }); inner.on('message', (drawn) => parentPort.postMessage(drawn)); parentPort.on('message', (message) => inner.postMessage(message));";
  const all = {
    idle: new Worker(commonjs + draw + answer, { eval: true }),
    busy: new Worker(commonjs + draw + spin + answer, { eval: true }),
    'an ES module': new Worker(url),
    nested: new Worker(commonjs + nested, { eval: true }),
  };
  async function drawInAll() {
    const drawn = {};
    for (const [name, worker] of Object.entries(all)) drawn[name] = await ask(worker);
    return drawn;
  }
  drawInAll().then(drawInAll).then(() => family(${CLONES}, drawInAll)).then((drawn) => {
    console.log(JSON.stringify(drawn));
    process.exit();
  });`;

/** What Node 18 does not expose: docs/random-numbers.md. */
const outOfReach = (worker, generator) =>
  process.version.startsWith('v18.') && worker === 'an ES module' && generator === 'randomInt';

inBothModes('workers that have not loaded gridcentric draw anew', async (run) => {
  const domains = JSON.parse(await run(workers));
  assert.equal(domains.length, CLONES + 1);
  for (const [worker, drawn] of Object.entries(domains[0])) {
    for (const generator of Object.keys(drawn)) {
      const numbers = domains.map((domain) => domain[worker][generator]);
      const different = outOfReach(worker, generator) ? 1 : CLONES + 1;
      assert.equal(new Set(numbers).size, different, `${worker}: ${generator}: ${numbers}`);
    }
  }
});

inBothModes('contexts of node:vm draw anew, made before or after gridcentric was loaded', async (run) => {
  const stdout = await run(`
    const vm = require('node:vm');
    const contexts = [1, 2, 3].map(() => vm.createContext({}));
    const draws = contexts.map((context) => vm.runInContext('Math.random', context));
    const draw = () => draws.map((random) => random());
    draw();
    family(${CLONES}, draw).then((all) => console.log(JSON.stringify(all)));`);
  const numbers = JSON.parse(stdout).flat();
  assert.equal(new Set(numbers).size, 3 * (CLONES + 1), `${numbers}`);
});

inBothModes('the main thread draws anew when only a worker has loaded gridcentric', async (run) => {
  const stdout = await run(`
    const { Worker, isMainThread, parentPort } = require('node:worker_threads');
    const crypto = require('node:crypto');
    const draw = () => [Math.random(), crypto.randomUUID(), crypto.randomInt(2 ** 47)];
    draw();
    const worker = new Worker(${JSON.stringify(`
      const { parentPort } = require('node:worker_threads');
      const gridcentric = require('gridcentric');
      const ask = () => new Promise((resolve) => { parentPort.once('message', resolve); parentPort.postMessage('draw'); });
      (async () => {
        const ticket = await gridcentric.request_ticket(${CLONES}, ${CLONES}, 1, 0);
        const vmid = await gridcentric.clone(ticket);
        const drawn = await ask();
        if (vmid > 0) return gridcentric.join(JSON.stringify(drawn));
        const ends = await gridcentric.wait(ticket);
        parentPort.postMessage([drawn, ...ends.map(({ report }) => JSON.parse(report))]);
      })();`)}, { eval: true });
    worker.on('message', (message) => {
      if (message === 'draw') return worker.postMessage(draw());
      console.log(JSON.stringify(message));
      process.exit();
    });`, { start: '' });
  const numbers = JSON.parse(stdout).flat();
  assert.equal(new Set(numbers).size, 3 * (CLONES + 1), `${numbers}`);
});
