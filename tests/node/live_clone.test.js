'use strict';
// Node's own resources in a live clone, one small program per kind of resource. Random numbers, handlers, timers and worker
// threads are in after_clone.test.js; the kernel's resources, one by one, in tests/live_clone.
const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { inBothModes } = require('./family.js');

function folder(context) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'gridcentric-test-'));
  context.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

/** A GET: the JSON of the answer; `connection` is the client's port. */
async function get(url, agent) {
  const request = http.get(url, { agent });
  const [response] = await once(request, 'response');
  const connection = response.socket.localPort;
  let text = '';
  for await (const piece of response.setEncoding('utf8')) text += piece;
  assert.equal(response.statusCode, 200, `${url}: ${text}`);
  return { connection, answer: JSON.parse(text) };
}

inBothModes('an HTTP server keeps its clients, and each clone answers on its own address', async (run, context) => {
  const program = `
    const http = require('node:http');
    const visitors = [];
    let ticket;
    const pages = {
      '/visit': (name) => visitors.push(name),
      '/who': () => ({ vmid: gridcentric.vmid(), visitors }),
      '/clone': async () => {
        ticket = await gridcentric.request_ticket(3, 3, 1, 0);
        await gridcentric.clone(ticket);
        return gridcentric.list_domains();
      },
      '/wait': async () => (await gridcentric.wait(ticket)).map(({ how, report }) => how + ' ' + report),
    };
    const server = http.createServer(async (request, response) => {
      const { pathname, searchParams } = new URL(request.url, 'http://a');
      const end = pathname === '/end' && (gridcentric.vmid() ? () => gridcentric.join(visitors.join()) : () => server.close());
      response.end(JSON.stringify(end ? 0 : await pages[pathname](searchParams.get('name'))), end || undefined);
    });
    server.keepAliveTimeout = 0; // a connection ends when a client ends it
    server.listen(0, '0.0.0.0', () => console.log(server.address().port));`;
  let begun;
  const port = new Promise((resolve) => (begun = resolve));
  const ended = run(program, {
    started(child) {
      child.stdout.once('data', (text) => begun(Number(text)));
      context.after(() => child.kill('SIGKILL'));
    },
  });
  const at = `:${await Promise.race([port, ended])}`;
  const master = `http://127.0.0.1${at}`;
  const agents = Array.from({ length: 8 }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }));
  context.after(() => agents.forEach((agent) => agent.destroy()));

  let serving = true;
  let served = 0;
  const clients = agents.map(async (agent) => {
    const { connection: first } = await get(`${master}/who`, agent);
    while (serving) {
      const { connection, answer } = await get(`${master}/who`, agent);
      assert.deepEqual([connection, answer.vmid], [first, 0]);
      ++served;
    }
  });
  const working = Promise.all(clients);
  const more = async () => {
    for (const least = served + 100; served < least; ) await Promise.race([working, new Promise(setImmediate)]);
  };
  await get(`${master}/visit?name=before`);
  await more();
  const { answer: domains } = await get(`${master}/clone`);
  await more();
  assert.deepEqual(domains.map(({ vmid }) => vmid), [0, 1, 2, 3]);
  for (const { vmid, ip } of domains.slice(1)) {
    assert.deepEqual((await get(`http://${ip}${at}/who`)).answer, { vmid, visitors: ['before'] });
    await get(`http://${ip}${at}/visit?name=${vmid}`);
  }
  for (const { ip } of domains.slice(1)) await get(`http://${ip}${at}/end`);
  assert.deepEqual((await get(`${master}/wait`)).answer, [1, 2, 3].map((vmid) => `joined before,${vmid}`));
  await more();
  serving = false;
  await working;
  assert.deepEqual((await get(`${master}/who`)).answer, { vmid: 0, visitors: ['before'] });
  await get(`${master}/end`);
  agents.forEach((agent) => agent.destroy());
  await ended;
});

inBothModes('files stay open, each domain with its own offset', async (run, context) => {
  const place = folder(context);
  fs.writeFileSync(path.join(place, 'read'), 'abcdefghijkl');
  fs.writeFileSync(path.join(place, 'stream'), 'x'.repeat(1 << 20));
  const stdout = await run(`
    const fs = require('node:fs');
    (async () => {
      const handle = await fs.promises.open('read');
      const next = async () => (await handle.read(Buffer.alloc(4), 0, 4)).buffer.toString();
      const lines = await fs.promises.open('lines', 'a');
      await next();
      await lines.write('before\\n');
      const stream = fs.createReadStream('stream');
      let length = 0;
      stream.on('data', (piece) => { length += piece.length; });
      const end = new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject));
      await new Promise((resolve) => stream.once('data', resolve)); // the stream is in progress
      const all = await family(3, async (vmid) => {
        const read = [await next(), await next()];
        await lines.write(vmid + '\\n');
        await end;
        return [...read, (await handle.stat()).size, length];
      });
      await lines.close();
      await handle.close();
      console.log(JSON.stringify(all));
    })();`.replaceAll(/'(read|stream|lines)'(?=[,)])/g, (_, name) => JSON.stringify(path.join(place, name))));
  assert.deepEqual(JSON.parse(stdout), Array(4).fill(['efgh', 'ijkl', 12, 1 << 20]));
  const lines = fs.readFileSync(path.join(place, 'lines'), 'utf8').trimEnd().split('\n');
  assert.deepEqual([lines[0], ...lines.slice(1).sort()], ['before', '0', '1', '2', '3']);
});

inBothModes('names are looked up: before, during and after', async (run) => {
  const stdout = await run(`
    const { lookup } = require('node:dns').promises;
    const four = () => lookup('localhost', { family: 4 }).then(({ address }) => address);
    (async () => {
      await four();
      const open = Array.from({ length: 32 }, four);
      console.log(JSON.stringify(await family(3, async () => [...new Set([...await Promise.all(open), await four()])])));
    })();`);
  assert.deepEqual(JSON.parse(stdout), Array(4).fill(['127.0.0.1']));
});

inBothModes('a child process stays the master\'s, and a clone starts its own', async (run) => {
  const stdout = await run(`
    const { spawn, execFile } = require('node:child_process');
    const child = spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => { output += text; });
    child.stdin.on('error', () => {}); // a clone's end of it is dead
    const end = new Promise((resolve) => child.stdout.once('end', resolve));
    const exit = new Promise((resolve) => child.once('exit', (code, signal) => resolve([code, signal])));
    const echo = (text) => new Promise((resolve, reject) => {
      execFile('echo', [text], (error, out) => error ? reject(error) : resolve(out.trim()));
    });
    child.stdin.write('before ');
    child.stdout.once('data', async () => {
      const all = await family(3, async (vmid) => {
        if (vmid) await end;
        else child.stdin.end('after');
        return [output, await echo(String(vmid)), vmid ? null : (await end, await exit)];
      });
      console.log(JSON.stringify([...all, output]));
    });`);
  const [master, ...clones] = JSON.parse(stdout);
  assert.deepEqual(clones.pop(), 'before after');
  assert.deepEqual(master.slice(1), ['0', [0, null]]);
  assert.deepEqual(clones, ['1', '2', '3'].map((vmid) => ['before ', vmid, null]));
});

inBothModes('a WebAssembly instance keeps its globals, its memory and its compiled code', async (run) => {
  const stdout = await run(`
    // (global (mut i32)) (memory (export "memory") 1) (func (export "add") (param i32) (result i32) global += param)
    const code = Buffer.from('0061736d01000000' + '01060160017f017f' + '03020100' + '0503010001' + '0606017f0141000b' +
      '071002036164640000066d656d6f72790200' + '0a0d010b00230020006a240023000b', 'hex');
    WebAssembly.instantiate(code).then(async ({ instance: { exports: { add, memory } } }) => {
      const bytes = new Uint8Array(memory.buffer);
      for (let i = 0; i < 1e6; ++i) add(1); // its optimizing compiler is or was at work
      bytes[9] = 42;
      const all = await family(3, (vmid) => {
        for (let i = 0; i < 1e6; ++i) add(1);
        bytes[9] += vmid;
        memory.grow(1);
        return [add(vmid), new Uint8Array(memory.buffer)[9], memory.buffer.byteLength];
      });
      console.log(JSON.stringify(all));
    });`);
  assert.deepEqual(JSON.parse(stdout), [0, 1, 2, 3].map((vmid) => [2e6 + vmid, 42 + vmid, 2 * 65536]));
});

inBothModes('the inspector goes on, in a clone on its own address', async (run) => {
  const stdout = await run(`
    const http = require('node:http');
    const inspector = require('node:inspector');
    const session = new inspector.Session();
    session.connect();
    const { port } = new URL(inspector.url());
    const targets = (host) => new Promise((resolve, reject) => {
      http.get({ host, port, path: '/json/list', agent: false }, (response) => {
        let text = '';
        response.on('data', (piece) => { text += piece; }).on('end', () => resolve(JSON.parse(text)));
      }).on('error', reject);
    });
    const evaluate = (expression) => new Promise((resolve, reject) => {
      session.post('Runtime.evaluate', { expression }, (error, { result }) => error ? reject(error) : resolve(result.value));
    });
    family(3, async (vmid) => {
      const found = await targets(vmid ? gridcentric.my_ip() : '127.0.0.1');
      return [found.length, inspector.url().endsWith('/' + found[0].id), await evaluate('6 * 7')];
    }).then((all) => console.log(JSON.stringify(all)));`, { args: ['--inspect=127.0.0.1:0'], stderr: /^Debugger listening on ws:.*\n.*\n$/ });
  assert.deepEqual(JSON.parse(stdout), Array(4).fill([1, true, 42]));
});

inBothModes('a pipeline of streams that is under way comes to its end', async (run) => {
  const stdout = await run(`
    const { PassThrough, pipeline } = require('node:stream');
    const { createGzip, createGunzip } = require('node:zlib');
    const { createHash } = require('node:crypto');
    const source = new PassThrough();
    const hash = createHash('sha256');
    const end = new Promise((resolve, reject) => {
      pipeline(source, createGzip(), createGunzip(), hash, (error) => error ? reject(error) : resolve(hash.digest('hex')));
    });
    const half = Buffer.alloc(1 << 20, 'first half ');
    source.write(half);
    family(3, (vmid) => { source.end('end of ' + vmid); return end; }).then((all) => {
      const expected = [0, 1, 2, 3].map((vmid) => createHash('sha256').update(half).update('end of ' + vmid).digest('hex'));
      console.log(all.join() === expected.join());
    });`);
  assert.equal(stdout, 'true\n');
});
