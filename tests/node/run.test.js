'use strict';
// `gc run` of the npm package loads gridcentric into Node programs that do not know it: what they draw is their own in clones.
const assert = require('node:assert/strict');
const { execFile, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, test } = require('node:test');
const { promisify } = require('node:util');
const { root } = require('./host.js');

const run = promisify(execFile);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'gridcentric-run-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));

const PROGRAM = `
const crypto = require('node:crypto');
const draw = () => [Math.random(), crypto.randomUUID(), crypto.randomInt(2 ** 40)].join(' ');
draw();
const server = require('node:http').createServer((request, response) => response.end(draw()));
server.listen(0, '0.0.0.0', () => console.log(server.address().port));
`;

const PACKAGES = path.join(root, 'bindings-node', 'bin', 'gc');
const BUILT = path.join(root, 'bindings-node', 'build', 'Release', 'gc');

/** Starts PROGRAM by this gc, or the words that start it; then what(pid, port, gc). */
async function running(gc, what, starting = (file) => [process.execPath, file], ...options) {
  const file = path.join(folder, 'program.js');
  fs.writeFileSync(file, PROGRAM);
  const calm = Object.entries(process.env).filter(([name]) => !name.startsWith('GRIDCENTRIC_') && name !== 'NODE_OPTIONS');
  const env = { ...Object.fromEntries(calm), XDG_RUNTIME_DIR: folder, GRIDCENTRIC_ON_MASTER_EXIT: 'end' };
  const stdio = ['ignore', 'pipe', 'inherit'];
  const program = spawn(gc, ['run', ...options, '--', ...starting(file)], { cwd: folder, env, stdio, detached: true });
  try {
    const [port] = await once(program.stdout, 'data');
    await what(program.pid, Number(String(port)), async (...words) => (await run(gc, words, { env })).stdout);
  } finally {
    process.kill(-program.pid); // with its children
    await once(program, 'exit');
    program.stdout.destroy();
  }
}

async function theyDifferInClones(pid, port, gc) {
  assert.doesNotMatch(await gc('check', String(pid)), /random numbers/);
  const addresses = (await gc('clone', '--of', String(pid), '-n', '2')).match(/127\.[\d.]+/g);
  const drawn = await Promise.all(['127.0.0.1', ...addresses].map(async (address) => {
    const answer = await fetch(`http://${address}:${port}/`);
    return (await answer.text()).split(' ');
  }));
  for (const kind of [0, 1, 2]) assert.equal(new Set(drawn.map((line) => line[kind])).size, 3, drawn.join('\n'));
}

test('clones of a Node program draw their own numbers', async () => {
  await running(PACKAGES, theyDifferInClones);
});

test('so do clones of a tree with a Node program in it', async () => {
  await running(PACKAGES, theyDifferInClones, (file) => ['sh', '-c', `"${process.execPath}" "${file}" & wait`], '--tree');
});

test('by another gc it is named what repeats', async () => {
  await running(BUILT, async (pid, port, gc) => {
    assert.match(await gc('check', String(pid)), /^note: random numbers of Node \(.*\) repeat in every clone: .*crypto\.randomUUID\(\)/m);
  });
});
