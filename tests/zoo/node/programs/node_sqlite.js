'use strict';
// node:sqlite, opened before the clone in several threads that write, in WAL mode and with a rollback journal: no row is lost.
// module: node:sqlite
// arguments: --no-warnings
require('../sqlite_writers.js').writers('node:sqlite');
