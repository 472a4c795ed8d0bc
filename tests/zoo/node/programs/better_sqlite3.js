'use strict';
// better-sqlite3, opened before the clone in several threads that write, in WAL mode and with a rollback journal: no row is lost.
// zoo: full
// module: better-sqlite3
require('../sqlite_writers.js').writers('better-sqlite3');
