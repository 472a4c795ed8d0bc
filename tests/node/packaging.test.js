'use strict';
// What a user installs: `npm install ./bindings-node` in a checkout, and the packed tarball far from any checkout. Both
// build the addon, bring a gc of their own and work.
const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, test } = require('node:test');
const { root } = require('./host.js');

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'gridcentric-packaging-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));

const version = fs.readFileSync(path.join(root, 'VERSION'), 'utf8').trim();

/** Runs a command to its end; its standard output. */
function run(cwd, command, ...args) {
  const env = { ...process.env, CCACHE_BASEDIR: folder, CCACHE_NOHASHDIR: '1' };
  delete env.GRIDCENTRIC_HOST;
  delete env.GRIDCENTRIC_GC;
  const child = spawnSync(command, args, { cwd, env, encoding: 'utf8', maxBuffer: 2 ** 26 });
  assert.equal(child.status, 0, `${command} ${args.join(' ')}: ${child.error ?? ''}\n${child.stdout}\n${child.stderr}`);
  return child.stdout;
}

/** A copy of what git knows of the checkout, changed files included. */
function checkout() {
  const copy = path.join(folder, 'checkout');
  const names = run(root, 'git', 'ls-files', '-co', '--exclude-standard', '-z').split('\0').filter(Boolean);
  for (const name of names.filter((one) => /^(VERSION|bindings-node|core|dashboard)(\/|$)/.test(one))) {
    if (!fs.existsSync(path.join(root, name))) continue; // removed, not yet committed
    fs.mkdirSync(path.dirname(path.join(copy, name)), { recursive: true });
    fs.copyFileSync(path.join(root, name), path.join(copy, name));
  }
  return copy;
}

function project(name) {
  const made = path.join(folder, name);
  fs.mkdirSync(made);
  fs.writeFileSync(path.join(made, 'package.json'), JSON.stringify({ name, private: true }));
  return made;
}

/** The package in this project works: the addon, gc, a private host that gc runs, the module for autoscaling. */
function works(where) {
  assert.equal(run(where, 'node_modules/.bin/gc', '--version'), `gc (gridcentric) ${version}\n`);
  const script = `
    const gridcentric = require('gridcentric');
    gridcentric.request_ticket(1, 1, 1, 0).then((ticket) => gridcentric.release_ticket(ticket)).then((done) => {
      console.log(gridcentric.version, gridcentric.vmid(), done, typeof require('gridcentric/autoscale').setup);
    });`;
  assert.equal(run(where, process.execPath, '-e', script), `${version} 0 true function\n`);
}

const source = checkout();
const installed = ['install', '--no-audit', '--no-fund', '--foreground-scripts'];

test('npm pack, and the tarball installed outside the checkout', () => {
  const [{ filename, files }] = JSON.parse(run(path.join(source, 'bindings-node'), 'npm', 'pack', '--json', '--ignore-scripts=false'));
  const tarball = path.join(source, 'bindings-node', filename);
  const names = files.map((file) => file.path);
  for (const name of ['VERSION', 'core/sources.txt', 'core/include/gridcentric/errors.def', 'index.d.ts', 'bin/gc']) {
    assert.ok(names.includes(name), `${name} is not in the tarball`);
  }
  assert.deepEqual(names.filter((name) => /^build\/|node_modules|\.(o|node|a)$/.test(name)), []);
  assert.equal(fs.existsSync(path.join(source, 'bindings-node', 'core')), false, 'the copy of the core is taken away');

  const where = project('from-tarball');
  run(where, 'npm', ...installed, tarball);
  works(where);
});

test('npm install ./bindings-node in a checkout', () => {
  run(source, 'npm', ...installed, '--no-save', './bindings-node');
  works(source);
});
