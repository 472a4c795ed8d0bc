'use strict';
// The master's child processes in a clone, on the process hypervisor, in both modes: each has ended unsuccessfully, 'exit' and
// 'close' are emitted, and nothing that a clone does to one reaches the master's child.
const assert = require('node:assert/strict');
const { inBothModes } = require('./family.js');

const NO_PID = 2 ** 31 - 1;

/** In each program: a child that lives until its input ends, and the events that the program gets. */
const children = `
  const { spawn, execFile } = require('node:child_process');
  const { once } = require('node:events');
  function start(...options) {
    const child = spawn('cat', ...options);
    child.heard = [];
    child.on('exit', (code, signal) => child.heard.push('exit ' + code + ' ' + signal));
    child.on('close', (code, signal) => child.heard.push('close ' + code + ' ' + signal));
    child.stdin?.on('error', () => {}); // of a dead end
    child.closed = once(child, 'close');
    return child;
  }
  const killAll = (child) => {
    const killed = [child.kill(), child.kill('SIGKILL'), child.kill(0)];
    try { process.kill(child.pid, 'SIGKILL'); killed.push(true); } catch (error) { killed.push(error.code); }
    return killed;
  };
`;

inBothModes('a child has ended by a signal, its streams and its owner with it', async (run) => {
  const stdout = await run(`${children}
    (async () => {
      const [known, unknown] = [start(), start()];
      unknown.unref();
      unknown.stdin.unref();
      unknown.stdout.unref();
      unknown.stderr.unref();
      const awake = setInterval(() => {}, 1000); // whoever waits for unknown alone is not kept alive by it
      const executed = new Promise((resolve) => {
        known.file = execFile('cat', (error, out) => resolve([error && error.signal, error && error.code, out]));
      });
      known.file.stdin.on('error', () => {});
      const all = await family(2, async (vmid) => {
        if (!vmid) return null;
        await Promise.all([known.closed, unknown.closed]);
        const own = start();
        const early = own.exitCode;
        own.stdin.end();
        await own.closed;
        return [known.heard, unknown.heard, known.signalCode, known.pid, killAll(known), await executed, early, own.heard];
      });
      const alive = [known, unknown, known.file].map((child) => child.exitCode === null && child.kill(0));
      for (const child of [known, unknown, known.file]) child.stdin.end();
      await Promise.all([known.closed, unknown.closed]);
      console.log(JSON.stringify([alive, known.heard, unknown.heard, await executed, ...all.slice(1)]));
      clearInterval(awake);
    })();`);
  const ended = ['exit null SIGKILL', 'close null SIGKILL'];
  const [alive, known, unknown, executed, ...clones] = JSON.parse(stdout);
  assert.deepEqual(alive, [true, true, true]);
  assert.deepEqual([known, unknown, executed], [...Array(2).fill(['exit 0 null', 'close 0 null']), [null, null, '']]);
  for (const clone of clones) {
    assert.deepEqual(clone.slice(0, 4), [ended, ended, 'SIGKILL', NO_PID]);
    assert.deepEqual(clone.slice(4), [[false, false, false, 'ESRCH'], ['SIGKILL', null, ''], null, ['exit 0 null', 'close 0 null']]);
  }
});

inBothModes("a handler of on('clone') that kills every child reaches none, and hears of their ends later", async (run) => {
  const stdout = await run(`${children}
    (async () => {
      const child = start();
      await once(child, 'spawn');
      let killed;
      gridcentric.on('clone', () => { killed = [child.kill('SIGKILL'), [...child.heard]]; });
      const all = await family(1, async (vmid) => {
        if (vmid) await child.closed;
        return killed;
      });
      const alive = child.kill(0);
      child.stdin.end();
      await child.closed;
      console.log(JSON.stringify([alive, child.heard[0], ...all]));
    })();`);
  assert.deepEqual(JSON.parse(stdout), [true, 'exit 0 null', null, [false, []]]);
});

inBothModes("an exception of a listener of 'exit' is an uncaught one, the other children end", async (run) => {
  const stdout = await run(`${children}
    (async () => {
      const uncaught = [];
      process.on('uncaughtException', (error) => uncaught.push(error.message));
      const [one, two] = [start(), start()];
      one.on('exit', () => { if (gridcentric.vmid()) throw new Error('one'); });
      two.on('exit', () => { if (gridcentric.vmid()) throw new Error('two'); });
      const all = await family(1, async (vmid) => {
        if (vmid) await new Promise(setImmediate);
        return [one.heard[0], two.heard[0], uncaught.sort()];
      });
      for (const child of [one, two]) child.stdin.end();
      console.log(JSON.stringify(all[1]));
    })();`);
  assert.deepEqual(JSON.parse(stdout), ['exit null SIGKILL', 'exit null SIGKILL', ['one', 'two']]);
});

inBothModes('a child with a channel disconnects, and one of a worker thread ends', async (run) => {
  const stdout = await run(`${children}
    const { Worker } = require('node:worker_threads');
    (async () => {
      const worker = new Worker(\`
        require('gridcentric');
        const { parentPort } = require('node:worker_threads');
        const child = require('node:child_process').spawn('cat');
        child.stdin.on('error', () => {});
        child.on('exit', (code, signal) => parentPort.postMessage([code, signal, child.kill()]));
        child.on('spawn', () => parentPort.postMessage('spawned'));
        parentPort.on('message', () => child.stdin.end());\`, { eval: true });
      await once(worker, 'message');
      const exited = once(worker, 'message');
      const script = 'process.on("message", () => process.disconnect())';
      const forked = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
      const gone = Promise.all([once(forked, 'disconnect'), once(forked, 'exit')]);
      const all = await family(1, async (vmid) => {
        if (!vmid) forked.send('end');
        if (!vmid) worker.postMessage('end');
        return [...(await exited)[0], ...(await gone)[1], forked.connected];
      });
      await worker.terminate();
      console.log(JSON.stringify(all));
      process.exit();
    })();`);
  assert.deepEqual(JSON.parse(stdout), [[0, null, false, 0, null, false], [null, 'SIGKILL', false, null, 'SIGKILL', false]]);
});
