'use strict';
// "hello, I am N" in Node: three clones say it, the master collects it.
const gridcentric = require('gridcentric');

async function main() {
  const ticket = await gridcentric.request_ticket(3, 3, 1, 1000);
  const vmid = await gridcentric.clone(ticket); // one program before this line, four after it
  if (vmid > 0) await gridcentric.join(`hello, I am ${vmid}`); // does not return

  const results = await gridcentric.wait(ticket, 10000);
  for (const result of results) console.log(result.report.toString());
  console.log(`hello, I am the master of ${results.length}`);
}

main();
