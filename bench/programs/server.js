// The Node server that is cloned and measured: state in its heap, threads in its pool, an HTTP port for all.
// Arguments: megabytes of strings, and a number of objects, of which each request looks one up.
// GET /            {vmid, ip, state}: who answers, with state inherited from the master
// GET /clone?n=N   make N clones; answers in the master with the time the call took
// GET /tickets?n=N&times=M   request and release a ticket for N, M times; answers with the time of each request
// GET /fork        a plain fork() of this process (the addon given as PLAIN_FORK), ms
// GET /tidy        collect all garbage (with --expose-gc)
// GET /end         end all clones and wait for them
'use strict';
const http = require('node:http');
const fs = require('node:fs');
const gridcentric = require('gridcentric');

const megabytes = Number(process.argv[2] || 0);
const state = `state-${process.pid}`;
const heap = [];
for (let i = 0; i < megabytes; i++) {
  const chunk = [];
  for (let j = 0; j < 1024; j++) chunk.push(`${i}/${j} `.padEnd(1000, 'x').split('').reverse().join(''));
  heap.push(chunk);
}
const objects = Array.from({ length: Number(process.argv[3] || 0) }, (_, id) => ({ id, name: `entry ${id}`, tags: [id % 7] }));
let requests = 0;
const tickets = [];

/** Another object for each request, far from the last one. */
const lookUp = () => objects[(++requests * 7919) % objects.length]?.name;

async function answer(url) {
  switch (url.pathname) {
    case '/clone': {
      const n = Number(url.searchParams.get('n') || 1);
      const t0 = performance.now();
      const ticket = await gridcentric.request_ticket(n, n, 1, 0);
      const t1 = performance.now();
      if ((await gridcentric.clone(ticket)) !== 0) return undefined;
      const clone_ms = performance.now() - t1;
      tickets.push(ticket);
      const clones = (await gridcentric.list_domains()).filter((d) => d.vmid > 0);
      return { vmid: 0, ticket_ms: t1 - t0, clone_ms, clones };
    }
    case '/tickets': {
      const ms = [];
      for (let left = Number(url.searchParams.get('times')); left > 0; left--) {
        const t0 = performance.now();
        const n = Number(url.searchParams.get('n'));
        const ticket = await gridcentric.request_ticket(n, n, 1, 60000);
        ms.push(performance.now() - t0);
        await gridcentric.release_ticket(ticket);
      }
      return { ms };
    }
    case '/fork':
      return { ms: require(process.env.PLAIN_FORK).fork() };
    case '/tidy':
      return { collected: globalThis.gc() ?? true };
    case '/end': {
      const t0 = performance.now();
      for (const d of await gridcentric.list_domains()) if (d.vmid > 0) await gridcentric.kill(d.vmid);
      for (const ticket of tickets.splice(0)) await gridcentric.wait(ticket, -1);
      return { ms: performance.now() - t0 };
    }
    default:
      return { vmid: gridcentric.vmid(), ip: gridcentric.my_ip(), state, heap: heap.length, entry: lookUp() };
  }
}

const server = http.createServer((request, response) => {
  answer(new URL(request.url, 'http://x')).then(
    (result) => result && response.end(JSON.stringify(result)), // nobody is connected to a clone
    (error) => response.writeHead(500).end(JSON.stringify({ error: `${error.code}: ${error.message}` })),
  );
});
server.keepAliveTimeout = 60000;
// Use the thread pool, so that its threads exist and are cloned.
fs.readFile(__filename, () => server.listen(0, '0.0.0.0', () => console.log('ready', server.address().port)));
