'use strict';
// node:cluster: a worker, and a primary with workers, are refused by name before any thread is stopped, and keep running.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { inBothModes } = require('./family.js');

const program = `
  const cluster = require('node:cluster');
  const gridcentric = require('gridcentric');
  async function attempt() {
    const ticket = await gridcentric.request_ticket(1, 1, 1, 0);
    const { can_clone, report } = await gridcentric.explain();
    const refused = await gridcentric.clone(ticket).then(() => 'cloned', ({ code, message }) => code + ' ' + message);
    const { status } = await gridcentric.ticket_info(ticket);
    await gridcentric.release_ticket(ticket);
    return { can_clone, report, refused, status };
  }
  if (cluster.isPrimary) {
    const worker = cluster.fork();
    worker.on('message', async (ofWorker) => {
      const ofPrimary = await attempt();
      worker.disconnect();
      worker.on('exit', async () => {
        const ticket = await gridcentric.request_ticket(1, 1, 1, 0);
        if (await gridcentric.clone(ticket)) return gridcentric.join('alone');
        const [{ report }] = await gridcentric.wait(ticket);
        console.log(JSON.stringify({ ofWorker, ofPrimary, report: String(report) }));
      });
    });
  } else {
    attempt().then((result) => process.send(result));
  }`;

inBothModes('a worker and a primary that has workers are refused, and a primary without workers clones', async (run, context) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'gridcentric-cluster-'));
  context.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'program.js');
  fs.writeFileSync(file, program);
  const stdout = await run(`require('node:child_process').spawn(process.execPath, [${JSON.stringify(file)}], {
    stdio: 'inherit', env: { ...process.env, NODE_PATH: 'node_modules' } })`);
  const { ofWorker, ofPrimary, report } = JSON.parse(stdout);
  for (const [{ can_clone, report, refused, status }, name] of [[ofWorker, 'worker 1 of a cluster'], [ofPrimary, 'primary of a cluster of 1 worker,']]) {
    assert.equal(can_clone, false);
    assert.match(report, /^can not be cloned \(mode [\s\S]*^refused: this process is /m);
    assert.ok(refused.startsWith('not_supported clone: this process is ') && refused.includes(name), refused);
    assert.equal(status, 'reserved');
  }
  assert.equal(report, 'alone');
});
