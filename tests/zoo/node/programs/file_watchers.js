'use strict';
// fs.watch and chokidar: the master's go on; a clone's inherited ones are told once that they have ended ('rename'), never of
// what new ones, which work, are for.
const fs = require('node:fs');
const chokidar = require('chokidar');
const { assert, gridcentric, family, play, until } = require('../harness.js');

function watch(folder) {
  fs.mkdirSync(folder, { recursive: true });
  const seen = { watch: 0, chokidar: 0 };
  fs.watch(folder, (event, name) => { if (name === 'file') ++seen.watch; });
  return new Promise((resolve) => {
    const watcher = chokidar.watch(folder, { ignoreInitial: true });
    watcher.on('add', () => { ++seen.chokidar; }).on('ready', () => resolve(seen));
  });
}

play(async () => {
  const inherited = await watch('shared');
  assert.match((await gridcentric.explain()).report, /inotify/);
  const [master, clones] = await family(async (vmid) => {
    const own = await watch(`own${vmid}`);
    fs.writeFileSync(`own${vmid}/file`, 'x');
    await until(() => own.watch && own.chokidar, 'what happens in the own folder');
    if (!vmid) {
      fs.writeFileSync('shared/file', 'x');
      await until(() => inherited.watch && inherited.chokidar, 'what happens in the inherited folder');
    }
    return inherited.watch;
  });
  assert.ok(master >= 1);
  assert.deepEqual(clones, [0, 0, 0]);
});
