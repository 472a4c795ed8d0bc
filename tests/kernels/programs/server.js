// A server that clones itself twice and is asked on each address; prints what answered.
const http = require('node:http');
const { Worker } = require('node:worker_threads');
const gridcentric = require('gridcentric');

const worker = new Worker('setInterval(() => {}, 10)', { eval: true });
const server = http.createServer((request, response) => response.end(`vmid ${gridcentric.vmid()} works`));

server.listen(0, async () => {
  try {
    const ticket = await gridcentric.request_ticket(2, 2, 1, 10000);
    const vmid = await gridcentric.clone(ticket);
    if (vmid > 0) return;
    for (const domain of await gridcentric.list_domains()) {
      if (!domain.vmid) continue;
      const answer = await fetch(`http://${domain.ip}:${server.address().port}/`);
      console.log(await answer.text());
      await gridcentric.kill(domain.vmid);
    }
    console.log('master works');
  } catch (error) {
    console.log(String(error));
    process.exitCode = 1;
  }
  await worker.terminate();
  server.close();
});
