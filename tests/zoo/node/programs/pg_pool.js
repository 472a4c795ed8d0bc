'use strict';
// pg's pool: the master's transaction goes on; a clone's queries go out on its own connections.
// server: postgres
const { Pool } = require('pg');
const { assert, family, play } = require('../harness.js');

play(async () => {
  const [host, port] = process.env.GC_ZOO_POSTGRES.split(':');
  const pool = new Pool({ host, port, user: 'zoo', database: 'postgres', max: 3 });
  pool.on('error', () => {}); // an inherited connection has ended
  await pool.query('create table if not exists node_rows (vmid int)');
  await pool.query('truncate node_rows');
  await Promise.all([1, 2].map(() => pool.query('select pg_sleep(0.05)')));
  const transaction = await pool.connect();
  transaction.on('error', () => {});
  await transaction.query('begin');
  await transaction.query('insert into node_rows values (-1)');
  const [master, clones] = await family(async (vmid) => {
    await pool.query('insert into node_rows values ($1)', [vmid]);
    const lost = await transaction.query('insert into node_rows values (100)').then(() => false, () => true);
    return lost;
  });
  await transaction.query('commit');
  assert.deepEqual([master, ...clones], [false, true, true, true]);
  const { rows } = await pool.query('select vmid from node_rows order by vmid');
  assert.deepEqual(rows.map((row) => row.vmid), [-1, 0, 1, 2, 3, 100]);
});
