'use strict';
// A process that never calls clone(). It looks at who it is until it is told to say what it saw.
const crypto = require('node:crypto');
const os = require('node:os');
const gridcentric = require('gridcentric');

const handled = [];
gridcentric.on('clone', (vmid) => handled.push([vmid, gridcentric.vmid()]));
const seen = [];
const wrong = [];
const watch = setInterval(() => {
  const before = os.hostname();
  const vmid = gridcentric.vmid();
  const ip = gridcentric.my_ip();
  const again = gridcentric.vmid();
  if (before === os.hostname() && before !== (vmid ? `clone${vmid}` : 'master')) wrong.push([before, vmid]);
  if (vmid === again && seen.at(-1)?.[0] !== vmid) seen.push([vmid, ip]);
}, 1);

process.on('message', () => {
  clearInterval(watch);
  const drawn = [Math.random(), crypto.randomUUID(), crypto.randomBytes(8).toString('hex'), crypto.randomInt(2 ** 40)];
  process.send({ seen, wrong, handled, drawn }, () => process.disconnect());
});
process.send('ready');
