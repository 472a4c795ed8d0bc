'use strict';
// What the programs of SQLite's libraries share: writers in several threads, each with its own connection, in WAL mode and with a
// rollback journal, at work while clones are made. It is its own workers' program.
const { isMainThread, parentPort, Worker, workerData } = require('node:worker_threads');
const { assert, family, play, until } = require('./harness.js');

const JOURNALS = ['wal', 'delete'];
const THREADS = 2; // of each journal
const ROWS = 5; // that each of them commits in each domain at least
// What is in the shared memory: who writes, whether to stop, a place to wait at, how many transactions each thread has committed.
const DOMAIN = 0, STOP = 1, PAUSE = 2, COMMITTED = 3;

function open(library, journal) {
  const { DatabaseSync: Database } = library === 'node:sqlite' ? require(library) : { DatabaseSync: require(library) };
  const database = new Database(`${journal}.db`);
  database.exec('pragma busy_timeout = 60000; pragma wal_autocheckpoint = 20');
  return database;
}

/** Each transaction writes a row twice: nobody may ever see one of the two. */
function write({ library, journal, thread, shared }) {
  const database = open(library, journal);
  const insert = database.prepare('insert into rows values (?, ?, ?)');
  const committed = [];
  while (!Atomics.load(shared, STOP)) {
    const row = [Atomics.load(shared, DOMAIN), thread, committed.length];
    database.exec('begin immediate');
    const begun = performance.now();
    insert.run(...row);
    insert.run(...row);
    database.exec('commit');
    committed.push(row.join());
    Atomics.add(shared, COMMITTED + thread, 1);
    // Longer than the transaction, however busy the computer: a program that is always in one cannot be cloned.
    Atomics.wait(shared, PAUSE, 0, Math.random() * 4 * (performance.now() - begun));
  }
  database.close();
  parentPort.postMessage(committed);
}

async function writers(library) {
  const shared = new Int32Array(new SharedArrayBuffer(4 * (COMMITTED + JOURNALS.length * THREADS)));
  const threads = Array.from({ length: JOURNALS.length * THREADS }, (_, thread) => thread);
  const idle = JOURNALS.map((journal) => open(library, journal));
  for (const [i, database] of idle.entries()) database.exec(`pragma journal_mode = ${JOURNALS[i]}; create table rows (domain, thread, n)`);
  const ended = threads.map((thread) => new Promise((resolve, reject) => {
    const data = { library, journal: JOURNALS[thread % JOURNALS.length], thread, shared };
    new Worker(__filename, { workerData: data }).once('message', resolve).once('error', reject);
  }));
  const all = (least) => until(() => threads.every((thread) => Atomics.load(shared, COMMITTED + thread) >= least[thread]), 'commits');
  await all(threads.map(() => ROWS));
  const [master, clones] = await family(async (vmid) => {
    Atomics.store(shared, DOMAIN, vmid);
    await all(threads.map((thread) => Atomics.load(shared, COMMITTED + thread) + ROWS));
    Atomics.store(shared, STOP, 1);
    if (vmid % 2) for (const database of idle) database.close(); // before the threads have closed theirs, or after, or never
    const committed = (await Promise.all(ended)).flat();
    assert.ok(committed.filter((row) => row.startsWith(`${vmid},`)).length >= ROWS);
    return committed;
  });
  const written = new Map();
  for (const [i, database] of idle.entries()) {
    assert.equal(Object.values(database.prepare('pragma integrity_check').get())[0], 'ok');
    assert.equal(Object.values(database.prepare('pragma journal_mode').get())[0], JOURNALS[i]);
    for (const { domain, thread, n } of database.prepare('select * from rows').all()) {
      const row = [domain, thread, n].join();
      written.set(row, (written.get(row) ?? 0) + 1);
    }
  }
  assert.deepEqual([...written].filter(([, times]) => times % 2), [], 'rows of half a transaction');
  assert.deepEqual([master, ...clones].flat().filter((row) => !written.has(row)), [], 'rows that were committed are lost');
}

if (!isMainThread) write(workerData);

module.exports = { writers: (library) => play(() => writers(library)) };
