'use strict';
// node:sqlite in WAL mode, opened before the clone: all go on with their connection, and no row is lost.
// module: node:sqlite
// arguments: --no-warnings
const { DatabaseSync } = require('node:sqlite');
const { assert, family, play } = require('../harness.js');

play(async () => {
  const database = new DatabaseSync('rows.db');
  database.exec('pragma journal_mode = wal; pragma busy_timeout = 60000; create table rows (vmid int, n int)');
  const insert = database.prepare('insert into rows values (?, ?)');
  const count = database.prepare('select count(*) c from rows where vmid = ?');
  for (let n = 0; n < 50; ++n) insert.run(-1, n);
  const [master, clones] = await family(async (vmid) => {
    for (let n = 0; n < 20; ++n) insert.run(vmid, n);
    const counts = [-1, vmid].map((of) => count.get(of).c);
    if (vmid % 2) database.close();
    return counts;
  });
  assert.deepEqual([master, ...clones], Array(4).fill([50, 20]));
  assert.deepEqual([-1, 0, 1, 2, 3].map((of) => count.get(of).c), [50, 20, 20, 20, 20]);
  assert.deepEqual(database.prepare('pragma integrity_check').all().map((row) => row.integrity_check), ['ok']);
});
