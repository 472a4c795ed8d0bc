'use strict';
// Application B of the test track: a Node server that clones itself and asks every clone, on the clone's own address. The same
// requests as a.py, where they are described.

const http = require('node:http');
const { randomBytes } = require('node:crypto');
// The package beside us, or the one that GRIDCENTRIC_NODE_MODULE names.
const gridcentric = require(process.env.GRIDCENTRIC_NODE_MODULE || 'gridcentric');

const PORT = Number(process.argv[2]); // 0: any free one
const STATE = randomBytes(8).toString('hex'); // a clone can only know it by inheritance
const tickets = [];

function get(ip, port) {
  return new Promise((resolve, reject) => {
    http.get({ host: ip, port, path: '/', agent: false }, async (response) => {
      try {
        let text = '';
        for await (const chunk of response) text += chunk;
        resolve(JSON.parse(text));
      } catch (error) {
        reject(error);
      }
    }).on('error', reject);
  });
}

async function ask(ip, port) {
  for (;;) {
    try {
      return await get(ip, port);
    } catch { // a VM's network is there a moment after the VM
      await new Promise((resolve) => { setTimeout(resolve, 5); });
    }
  }
}

async function lap(n, port, say) {
  const ticket = await gridcentric.request_ticket(n, n, 1, 10000);
  if (await gridcentric.clone(ticket) > 0) return; // a clone: nobody is connected to it yet
  tickets.push(ticket);
  const clones = (await gridcentric.list_domains()).filter((domain) => domain.ticket === ticket && domain.vmid > 0);
  say({ cloned: clones.length });
  await Promise.all(clones.map(async ({ vmid, ip }) => {
    const answer = await ask(ip, port);
    if (answer.vmid !== vmid || answer.state !== STATE) throw new Error(`clone ${vmid} answered ${JSON.stringify(answer)}`);
    say({ vmid, ip });
  }));
}

async function end() {
  let ended = 0;
  for (const ticket of tickets.splice(0)) {
    for (const domain of await gridcentric.list_domains()) {
      if (domain.ticket === ticket && domain.vmid > 0) await gridcentric.kill(domain.vmid);
    }
    ended += (await gridcentric.wait(ticket, -1, { forget: true })).length;
  }
  return { ended };
}

async function answer(url, port, say) {
  if (url.pathname === '/lap') await lap(Number(url.searchParams.get('n')), port, say);
  else if (url.pathname === '/end') say(await end());
  else say({ vmid: gridcentric.vmid(), state: STATE });
}

const server = http.createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'application/json', connection: 'close' });
  const say = (line) => response.write(`${JSON.stringify(line)}\n`);
  answer(new URL(request.url, 'http://b'), server.address().port, say)
    .catch((error) => say({ error: error.message }))
    .finally(() => response.end());
});
server.listen(PORT, PORT ? '0.0.0.0' : '127.0.0.1', 512, () => console.log('ready', server.address().port));
