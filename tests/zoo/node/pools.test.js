'use strict';
// Pools of connections and a service in a child process that packages keep: in a clone the first request of undici's pool works,
// and esbuild's service fails at once and can be started anew.
const assert = require('node:assert/strict');
const { inBothModes } = require('../../node/family.js');

inBothModes('the first requests of an idle pool of undici go out on new connections', async (run) => {
  const stdout = await run(`
    const { once } = require('node:events');
    const { spawn } = require('node:child_process');
    const { Pool } = require('undici');
    const program = "const s = require('node:http').createServer((q, r) => r.end(q.url)); s.keepAliveTimeout = 0;" +
      "s.listen(0, '127.0.0.1', () => console.log(s.address().port));";
    (async () => {
      const server = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
      const port = Number(await once(server.stdout, 'data'));
      const pool = new Pool('http://127.0.0.1:' + port, { connections: 4 });
      const ask = async (path) => (await pool.request({ path, method: 'GET' })).body.text();
      const all = () => Promise.all(Array.from({ length: 8 }, (_, i) => ask('/' + i)));
      await all();
      const found = await family(3, async () => [await ask('/first'), (await all()).length]);
      console.log(JSON.stringify(found));
      server.kill();
      process.exit();
    })();`);
  assert.deepEqual(JSON.parse(stdout), Array(4).fill(['/first', 8]));
});

inBothModes("esbuild's service is the master's: in a clone it fails at once, and starts anew when it has been stopped", async (run) => {
  const stdout = await run(`
    const esbuild = require('esbuild');
    (async () => {
      const transform = () => esbuild.transform('let x: number = 1', { loader: 'ts' })
        .then(({ code }) => code, (error) => error.message.split(':')[0]);
      await transform();
      const found = await family(2, async (vmid) => {
        const first = await transform();
        if (vmid) await esbuild.stop();
        return [first, await transform()];
      });
      console.log(JSON.stringify(found));
      await esbuild.stop();
    })();`);
  const [master, ...clones] = JSON.parse(stdout);
  assert.deepEqual(master, ['let x = 1;\n', 'let x = 1;\n']);
  for (const [first, second] of clones) {
    assert.match(first, /^The service (was stopped|is no longer running)/);
    assert.equal(second, 'let x = 1;\n');
  }
});
