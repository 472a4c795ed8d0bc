'use strict';
// Clones itself and reports what each domain of the family draws: node probe.js CLONES PACKAGE [NAME...]. Prints one line of JSON,
// {"before": ..., "domains": [...], "repeats": [...]}. Loads the named packages first. Runs in a VM as well as in a process.

const crypto = require('node:crypto');
const { createRequire } = require('node:module');
const gridcentric = require(process.argv[3]);

const LIMIT_MS = 300000; // a clone that has not reported by then has failed
const clones = Number(process.argv[2]);

const draw = () => ({
  randomBytes: crypto.randomBytes(16).toString('hex'),
  randomUUID: crypto.randomUUID(),
  getRandomValues: Buffer.from(crypto.webcrypto.getRandomValues(new Uint8Array(16))).toString('hex'),
  'Math.random': [Math.random(), Math.random()].join(' '),
});

async function main() {
  process.argv.slice(4).forEach(createRequire(`${process.cwd()}/`));
  const { report } = await gridcentric.explain();
  const repeats = report.split('\n').filter((line) => line.startsWith('note: random numbers of ')).map((line) => line.slice(6));
  const before = draw(); // fills Node's caches of random numbers
  const ticket = await gridcentric.request_ticket(clones, clones, 1, 1000);
  const vmid = await gridcentric.clone(ticket);
  const own = { drawn: draw(), seen: { vmid } };
  if (vmid > 0) return gridcentric.join(JSON.stringify(own));
  const domains = [own];
  for (const { vmid: clone, how, status, report } of await gridcentric.wait(ticket, LIMIT_MS)) {
    if (how !== 'joined') throw new Error(`clone ${clone} ended before its report: ${how} ${status}`);
    domains.push(JSON.parse(report));
  }
  console.log(JSON.stringify({ before, domains, repeats }));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
