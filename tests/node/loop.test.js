'use strict';
// Open calls and the life of a Node program: the event loop, its end, worker threads, and that nothing is left over.
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { after, afterEach, before, test } = require('node:test');
const { spawn } = require('node:child_process');
const { Host, node, root } = require('./host.js');

let host;
before(async () => {
  host = await Host.start('--cpus', '4');
});
afterEach(() => host.ask('reset'));
after(() => host.stop());

/** JavaScript that takes all CPUs, so that the next request waits in line. */
const full = `
  const gridcentric = require('gridcentric');
  const fill = () => gridcentric.request_ticket(4, 4, 1, 0);
  const forEver = (options = {}) => gridcentric.request_ticket(1, 1, 1, -1, options);
  process.on('unhandledRejection', (error) => { console.log('rejected', error.code ?? '', error.message); });
`;

/** JavaScript that counts what calls could leave behind. Up to 16 idle connections are kept on purpose. */
const leftovers = `
  const fs = require('node:fs');
  const targets = () => fs.readdirSync('/proc/self/fd').flatMap((fd) => {
    try { return [fs.readlinkSync('/proc/self/fd/' + fd)]; } catch { return []; } // readdir's own
  });
  const isSocket = (target) => target.startsWith('socket:');
  const count = () => ({
    threads: fs.readdirSync('/proc/self/task').length,
    descriptors: targets().filter((target) => !isSocket(target)).length,
    handles: process.getActiveResourcesInfo().length,
  });
  const sockets = () => targets().filter(isSocket).length;
  function check(before, socketsBefore) {
    const assert = require('node:assert');
    assert.deepEqual(count(), before);
    assert.ok(sockets() <= socketsBefore + 16, sockets() + ' sockets, there were ' + socketsBefore);
  }
`;

/** Starts a program; its lines of output, one after the other. */
function start(script) {
  const child = spawn(process.execPath, ['-e', script], {
    cwd: root, env: { ...process.env, GRIDCENTRIC_HOST: host.address }, stdio: ['ignore', 'pipe', 'inherit'],
  });
  child.ended = once(child, 'close');
  child.text = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (child.text += text));
  return child;
}

/** The calls open on the host: their verbs. */
const openCalls = async () => (await host.ask('dump')).items.filter(([kind]) => kind === 'call').map((call) => call[3]);

test('an open call keeps the process alive until it has ended', async () => {
  const child = start(`${full} fill().then(() => gridcentric.request_ticket(1, 1, 1, 5000, (ticket, error) => {
    console.log(ticket, error.code);
  }));`);
  await host.ask('await request_ticket 1');
  await host.ask('advance 5000');
  assert.deepEqual(await child.ended, [0, null]);
  assert.equal(child.text, 'undefined timed_out\n');
});

test('with ref: false the process may exit while the call waits', async () => {
  const { code, stdout } = await node(`${full} fill().then(() => { void forEver({ ref: false }); });`, { host });
  assert.deepEqual({ code, stdout }, { code: 0, stdout: '' });
  assert.deepEqual(await openCalls(), []);
});

test('one call with ref: false does not let go of the others', async () => {
  const child = start(`${full} fill().then(() => {
    void forEver({ ref: false });
    gridcentric.sync(undefined, 0).catch(() => forEver({ signal: AbortSignal.timeout(50) })).catch((error) => {
      console.log(error.name);
    });
  });`);
  assert.deepEqual(await child.ended, [0, null]);
  assert.equal(child.text, 'TimeoutError\n');
});

test('process.exit() while calls wait', async () => {
  const child = start(`${full} fill().then(() => {
    process.on('SIGTERM', () => process.exit(7)); // before the calls can have reached the host
    for (let i = 0; i < 20; ++i) void forEver();
  });`);
  await host.ask('await request_ticket 20');
  child.kill('SIGTERM');
  assert.deepEqual(await child.ended, [7, null]);
  assert.equal(child.text, '');
  assert.deepEqual(await openCalls(), []);
});

test('after the exit event calls are refused', async () => {
  const { code, stdout } = await node(`${full} process.on('exit', () => {
    gridcentric.list_tickets((tickets, error) => console.log(error.message));
    console.log('exit');
  });`, { host });
  assert.equal(code, 0);
  assert.match(stdout, /^exit\n.* is ending: no further calls are possible\n$/);
});

test('an exception of a callback is an uncaught one', async () => {
  const script = `${full} gridcentric.list_tickets(() => { throw new Error('of the callback'); });`;
  const { code, stderr } = await node(script, { host });
  assert.equal(code, 1);
  assert.match(stderr, /Error: of the callback/);
  const handled = await node(
    `${script} process.on('uncaughtException', (error) => console.log(error.message));`, { host },
  );
  assert.deepEqual([handled.code, handled.stdout], [0, 'of the callback\n']);
});

test('more calls wait than libuv has threads, and nothing else waits for them', async () => {
  const child = start(`${full} fill().then(async () => {
    const calls = Array.from({ length: 64 }, () => forEver().catch((error) => error.code));
    for (let i = 0; i < 500; ++i) await new Promise(setImmediate);
    await require('node:fs/promises').readFile('VERSION');
    await require('node:util').promisify(require('node:crypto').randomBytes)(8);
    console.log('free');
    const codes = new Set(await Promise.all(calls));
    console.log(...codes);
  });`);
  while (!child.text.includes('free')) await once(child.stdout, 'data');
  await host.ask('await request_ticket 64');
  await host.ask('fault restart');
  assert.deepEqual(await child.ended, [0, null]);
  assert.equal(child.text, 'free\nhost_unreachable\n');
});

test('nothing is left of calls that have ended: threads, descriptors, handles', async () => {
  const { code, stdout, stderr } = await node(`${full}
    ${leftovers}
    async function round() {
      const ticket = await gridcentric.request_ticket(4, 4, 1, 0);
      await gridcentric.clone(ticket);
      await Promise.allSettled([
        gridcentric.clone(ticket), gridcentric.sync(ticket, 0), gridcentric.wait(ticket, 0), gridcentric.kill(999999),
        gridcentric.request_ticket(1, 1, 1, 0), gridcentric.ticket_info(ticket), gridcentric.explain(),
      ]);
      const controllers = Array.from({ length: 4 }, () => new AbortController());
      const waits = controllers.map(({ signal }) => gridcentric.wait(ticket, -1, { signal }));
      controllers.forEach((controller) => controller.abort());
      await Promise.allSettled(waits);
      await new Promise((resolve) => gridcentric.list_domains(resolve));
      for (const { vmid } of await gridcentric.list_domains()) if (vmid) await gridcentric.kill(vmid);
      await gridcentric.wait(ticket);
    }
    (async () => {
      for (let i = 0; i < 3; ++i) await round();
      const before = count();
      const socketsBefore = sockets();
      for (let i = 0; i < 40; ++i) await round();
      check(before, socketsBefore);
      console.log('equal');
    })();`, { host });
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'equal\n', stderr: '' });
});

test('every worker thread has calls of its own', async () => {
  const { code, stdout, stderr } = await node(`${full}
    const { Worker } = require('node:worker_threads');
    const source = \`
      const gridcentric = require('gridcentric');
      const { parentPort } = require('node:worker_threads');
      (async () => {
        for (let i = 0; i < 50; ++i) await gridcentric.ticket_info(await gridcentric.request_ticket(1, 1, 1, -1).then(
          async (ticket) => { await gridcentric.release_ticket(ticket); return (await gridcentric.list_tickets())[0].id; }));
        parentPort.postMessage([gridcentric.vmid(), gridcentric.my_ip()]);
      })();\`;
    const workers = Array.from({ length: 8 }, () => new Worker(source, { eval: true }));
    Promise.all(workers.map((worker) => new Promise((resolve, reject) => {
      worker.on('message', resolve).on('error', reject);
    }))).then((all) => console.log(new Set(all.map(String)).size, all.length));`, { host });
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '1 8\n', stderr: '' });
});

test('a worker is terminated while its calls wait', async () => {
  const { code, stdout, stderr } = await node(`${full}
    ${leftovers}
    const { Worker } = require('node:worker_threads');
    const source = \`${full.replaceAll('`', '')}
      for (let i = 0; i < 10; ++i) forEver().catch(() => {});
      setImmediate(() => require('node:worker_threads').parentPort.postMessage('waiting'));\`;
    (async () => {
      await fill();
      let before, socketsBefore;
      for (let i = 0; i < 12; ++i) {
        const worker = new Worker(source, { eval: true });
        await new Promise((resolve) => worker.on('message', resolve));
        await worker.terminate();
        if (i === 2) [before, socketsBefore] = [count(), sockets()];
      }
      check(before, socketsBefore);
      console.log((await gridcentric.list_tickets()).length);
    })();`, { host });
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '2\n', stderr: '' });
});

// A worker is ended in the middle of whatever it does, even while it is given an answer.
test('workers are terminated while their calls are answered', async () => {
  const { code, stdout, stderr } = await node(`${full}
    const { Worker } = require('node:worker_threads');
    const source = \`${full.replaceAll('`', '')}
      const ask = () => gridcentric.list_domains().then(ask, ask);
      for (let i = 0; i < 4; ++i) ask();
      require('node:worker_threads').parentPort.postMessage('asking');\`;
    (async () => {
      for (let i = 0; i < 40; ++i) {
        const workers = Array.from({ length: 4 }, () => new Worker(source, { eval: true }));
        await Promise.all(workers.map((worker) => new Promise((resolve) => worker.on('message', resolve))));
        await Promise.all(workers.map((worker) => worker.terminate()));
      }
      console.log(gridcentric.vmid(), (await gridcentric.list_domains()).length > 0);
    })();`, { host });
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '0 true\n', stderr: '' });
});

test('a worker that loads the package first', async () => {
  const { code, stdout, stderr } = await node(`
    const { Worker } = require('node:worker_threads');
    new Worker("console.log(require('gridcentric').vmid(), process.env.GRIDCENTRIC_GC === undefined)", { eval: true })
      .on('exit', () => console.log(require('gridcentric').vmid()));`, { host, env: { GRIDCENTRIC_GC: undefined } });
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '0 true\n0\n', stderr: '' });
});

test('the host is killed while calls wait', async () => {
  const own = await Host.start('--cpus', '4');
  const run = node(`${full} fill().then((ticket) => Promise.all([
    forEver(), forEver(), gridcentric.clone(ticket).then(() => gridcentric.wait(ticket)),
  ].map((call) => call.catch((error) => error.code)))).then((codes) => console.log(...codes));`, { host: own });
  await own.ask('await request_ticket 2');
  await own.ask('await wait 1');
  own.process.kill('SIGKILL');
  const { code, stdout } = await run;
  assert.deepEqual({ code, stdout }, { code: 0, stdout: 'host_unreachable host_unreachable host_unreachable\n' });
  await own.stop();
});
