'use strict';
// What the Node programs of the zoo share: a family of clones, all at work, and what each of them says. A program knows
// neither modes nor leftovers: tests/zoo/playing.py runs it in both modes and looks after what it leaves.
const assert = require('node:assert/strict');
const http = require('node:http');
const gridcentric = require('gridcentric');

const CLONES = 3;
// Nothing waits this long unless it hangs; it never decides between right and wrong.
const HANG_GUARD_MS = 60000;

/**
 * Clones; work(vmid) in the master and in each clone. In the master: [what it gave there, [what it gave in the clones, by
 * vmid]]. visit(address, vmid) is called in the master for each domain while all of them live. A clone does not return
 * from here.
 */
async function family(work, visit) {
  const ticket = await gridcentric.request_ticket(CLONES, CLONES, 1, 0);
  const vmid = await gridcentric.clone(ticket);
  if (vmid > 0) {
    let said;
    try {
      said = { value: await work(vmid) };
    } catch (error) {
      said = { raised: error.stack };
    }
    await gridcentric.sync();
    return gridcentric.join(JSON.stringify(said));
  }
  const mine = await work(0);
  if (visit) {
    for (const { vmid, ip } of await gridcentric.list_domains()) await visit(vmid ? ip : '127.0.0.1', vmid);
  }
  await gridcentric.sync(ticket);
  const said = (await gridcentric.wait(ticket)).map(({ vmid, how, status, report }) => {
    assert.equal(how, 'joined', `clone ${vmid}: ${how} ${status}`);
    const { value = null, raised } = JSON.parse(report);
    assert.equal(raised, undefined, `in clone ${vmid}: ${raised}`);
    return value;
  });
  assert.equal(said.length, CLONES);
  console.log(`${CLONES} clones reported`); // which playing.py expects once of each program
  return [mine, said];
}

/** clone() is refused here, with these words in its text, and nobody has been cloned. */
async function refused(...words) {
  const ticket = await gridcentric.request_ticket(CLONES, CLONES, 1, 0);
  await assert.rejects(gridcentric.clone(ticket), (error) => {
    for (const word of words) assert.ok(error.message.includes(word), `no ${word} in: ${error.message}`);
    return ['not_supported', 'clone_failed'].includes(error.code);
  });
  await gridcentric.release_ticket(ticket);
  console.log('refused');
}

/** Runs a program to its end: 0, whatever it has left open, or 1 with what went wrong. */
function play(program) {
  program().then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
  });
}

/** What is(), maybe a promise, gives when it is true at last; an error that names `what` when it never is. */
async function until(is, what) {
  const end = Date.now() + HANG_GUARD_MS;
  for (;;) {
    const value = await is();
    if (value) return value;
    assert.ok(Date.now() < end, `never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Where this domain's servers answer. */
const ownAddress = () => (gridcentric.vmid() ? gridcentric.my_ip() : '127.0.0.1');

/** A GET on a separate connection, or one of an agent: the text of the answer. */
function get(host, port, path = '/', agent = false) {
  return new Promise((resolve, reject) => {
    http.get({ host, port, path, agent }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece) => (text += piece)).on('end', () => resolve(text)).on('error', reject);
    }).on('error', reject);
  });
}

/** Resolves when the server listens on all addresses: its port. */
function listening(server) {
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(0, '0.0.0.0', () => resolve(server.address().port));
  });
}

/** What a clone's promise rejects with, by code or message; undefined when it resolves. */
const rejection = (promise) => promise.then(() => undefined, (error) => error.code || error.message);

module.exports = { assert, gridcentric, family, refused, play, until, ownAddress, get, listening, rejection };
