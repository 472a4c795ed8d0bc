'use strict';
// better-sqlite3 in WAL mode, opened before the clone: all go on with their connection, and no row is lost.
// zoo: full
// module: better-sqlite3
const Database = require('better-sqlite3');
const { assert, family, play } = require('../harness.js');

play(async () => {
  const database = new Database('rows.db', { timeout: 60000 });
  database.pragma('journal_mode = WAL');
  database.exec('create table rows (vmid int, n int)');
  const insert = database.prepare('insert into rows values (?, ?)');
  const count = database.prepare('select count(*) c from rows where vmid = ?');
  for (let n = 0; n < 50; ++n) insert.run(-1, n);
  const [master, clones] = await family(async (vmid) => {
    for (let n = 0; n < 20; ++n) insert.run(vmid, n);
    database.transaction(() => { for (let n = 20; n < 40; ++n) insert.run(vmid, n); }).immediate();
    const counts = [-1, vmid].map((of) => count.get(of).c);
    if (vmid % 2) database.close();
    return counts;
  });
  assert.deepEqual([master, ...clones], Array(4).fill([50, 40]));
  assert.deepEqual([-1, 0, 1, 2, 3].map((of) => count.get(of).c), [50, 40, 40, 40, 40]);
  assert.equal(database.pragma('integrity_check', { simple: true }), 'ok');
});
