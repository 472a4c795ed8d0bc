'use strict';
// Clones itself and says what each domain of the family draws: node probe.js CLONES PACKAGE [NAME...]. One line of JSON on standard
// output, {"before": ..., "domains": [...], "repeats": [...]}. The packages of these names are loaded first. Runs in a VM as well as in a process.

const crypto = require('node:crypto');
const { createRequire } = require('node:module');
const gridcentric = require(process.argv[3]);

const LIMIT_MS = 300000; // a clone that is not heard of for so long is not one
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
  const before = draw(); // fills what Node draws in advance
  const ticket = await gridcentric.request_ticket(clones, clones, 1, 1000);
  const vmid = await gridcentric.clone(ticket);
  const own = { drawn: draw(), seen: { vmid } };
  if (vmid > 0) return gridcentric.join(JSON.stringify(own));
  const domains = [own];
  for (const { vmid: clone, how, status, report } of await gridcentric.wait(ticket, LIMIT_MS)) {
    if (how !== 'joined') throw new Error(`clone ${clone} has ended before its report: ${how} ${status}`);
    domains.push(JSON.parse(report));
  }
  console.log(JSON.stringify({ before, domains, repeats }));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
