'use strict';
// Starts a host with the fake hypervisor and a control channel, and drives it (docs/protocol.md, "Control").
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');

const root = path.join(__dirname, '..', '..');
const gc = path.join(root, 'bindings-node', 'build', 'Release', 'gc');

/** The command of a host; GRIDCENTRIC_TEST_HOST overrides the package's own. */
function command() {
  const other = process.env.GRIDCENTRIC_TEST_HOST;
  return other ? other.split(' ') : [gc, 'host', '--hypervisor', 'fake'];
}

class Host {
  #replies = new Map();
  #last = 0;

  /** Starts a new host, with a new folder for its socket. */
  static async start(...options) {
    const host = new Host();
    host.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'gridcentric-test-'));
    host.address = `unix:${host.folder}/s`;
    const [program, ...first] = command();
    host.process = spawn(program, [...first, '--control', '--socket', `${host.folder}/s`, ...options], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(readline.createInterface(host.process.stdout), 'line');
    if (line !== `listening on ${host.address}`) throw new Error(`the host said: ${line}`);
    host.socket = net.connect(`${host.folder}/s`);
    readline.createInterface(host.socket).on('line', (text) => host.#line(text));
    host.#replies.set('gridcentric/1', { items: [], resolve() {} });
    host.socket.write('gridcentric/1 control\n');
    return host;
  }

  #line(text) {
    const [id, word, ...rest] = text.split(' ');
    const reply = this.#replies.get(id);
    if (word === 'item') return void reply.items.push(rest);
    this.#replies.delete(id);
    if (word === 'ok') reply.resolve({ fields: rest, items: reply.items });
    else reply.reject(new Error(`${reply.request}: ${rest.join(' ')}`));
  }

  /** A control request: { fields, items }. */
  ask(request) {
    const id = String(++this.#last);
    return new Promise((resolve, reject) => {
      this.#replies.set(id, { request, items: [], resolve, reject });
      this.socket.write(`${id} ${request}\n`);
    });
  }

  /** Ends the host and removes its folder. */
  async stop() {
    this.socket.destroy();
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill();
      await once(this.process, 'exit');
    }
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Runs JavaScript in a separate Node that finds the host: { code, signal, stdout, stderr }. started(child) is called at its start. */
async function node(script, { host, env = {}, args = [], started = () => {} } = {}) {
  const child = spawn(process.execPath, [...args, '-e', script], {
    cwd: root,
    env: { ...process.env, ...(host ? { GRIDCENTRIC_HOST: host.address } : {}), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) child[name].setEncoding('utf8').on('data', (text) => (output[name] += text));
  started(child);
  const [code, signal] = await once(child, 'close');
  return { code, signal, ...output };
}

module.exports = { Host, node, root, gc };
