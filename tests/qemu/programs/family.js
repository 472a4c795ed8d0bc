'use strict';
// The master clones: each says who it is, what its worker (a process that never called clone()) saw, and what its server, which
// was listening before, answers on its own address. A connection that the master held is reset in the clones.
const { fork } = require('node:child_process');
const { once } = require('node:events');
const crypto = require('node:crypto');
const http = require('node:http');
const net = require('node:net');
const gridcentric = require('gridcentric');

const PORT = 8000;
let ticks = 0;
setInterval(() => ++ticks, 10).unref();
const handled = [];
gridcentric.on('clone', (vmid) => handled.push(vmid));
const server = http.createServer((request, response) => {
  if (request.url === '/stay') response.write('.');
  else response.end(`${gridcentric.vmid()}`);
});

async function get(ip) {
  return (await fetch(`http://${ip}:${PORT}/`)).text();
}

async function main() {
  await once(server.listen(PORT, '0.0.0.0'), 'listening');
  const worker = fork(`${__dirname}/worker.js`);
  await once(worker, 'message');
  // To its own address, as a neighbour would.
  const held = net.connect(PORT, gridcentric.my_ip());
  held.on('error', () => {});
  let lost = false;
  held.on('close', () => (lost = true));
  held.write('GET /stay HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(held, 'data');
  const drawn = [Math.random(), crypto.randomUUID(), crypto.randomInt(2 ** 40)]; // fills the caches of crypto

  const ticket = await gridcentric.request_ticket(3, 3, 1, 1000);
  const before = ticks;
  const vmid = await gridcentric.clone(ticket);
  await gridcentric.sync(ticket, 120000);
  while (ticks <= before) await new Promise((resolve) => setTimeout(resolve, 10));
  if (vmid) while (!lost) await new Promise((resolve) => setTimeout(resolve, 10));
  worker.send('report');
  const [report] = await once(worker, 'message');
  drawn.splice(0, 3, Math.random(), crypto.randomUUID(), crypto.randomBytes(8).toString('hex'), crypto.randomInt(2 ** 40));
  const ip = gridcentric.my_ip();
  const own = { vmid, ip, handled, lost, drawn, self: await get(ip), worker: report };
  if (vmid) {
    await gridcentric.sync(); // the others have asked all servers
    return gridcentric.join(JSON.stringify(own));
  }
  const domains = await gridcentric.list_domains();
  const answers = [];
  for (const domain of domains) answers.push([domain.vmid, await get(domain.ip)]);
  await gridcentric.sync(ticket, 120000);
  const results = await gridcentric.wait(ticket, 120000);
  console.log(JSON.stringify({ answers, reports: [own, ...results.map((result) => JSON.parse(result.report))] }));
  process.exit();
}

main();
