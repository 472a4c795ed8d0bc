'use strict';
// pino and winston: what was logged before the clone is written once when a handler of on('before') flushes, as
// docs/live-clone.md shows it; each domain's own lines are written once.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { inBothModes } = require('../../node/family.js');

const LINES = 2000;

/** Logs before and after a clone with the logger that `make` makes of the file's name; the lines that are in the file then. */
async function logged(run, context, make) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'gridcentric-logs-'));
  context.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'log');
  await run(`
    const file = ${JSON.stringify(file)};
    (async () => {
      ${make}
      for (let i = 0; i < ${LINES}; ++i) logger.info('before ' + i);
      await family(3, async (vmid) => {
        for (let i = 0; i < 100; ++i) logger.info('after ' + vmid);
        await flush();
        return null;
      });
      process.exit();
    })();`);
  const lines = fs.readFileSync(file, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line));
  return lines.map(({ msg, message }) => msg ?? message);
}

function check(lines) {
  assert.deepEqual(lines.slice(0, LINES), Array.from({ length: LINES }, (_, i) => `before ${i}`));
  const counts = {};
  for (const line of lines.slice(LINES)) counts[line] = (counts[line] ?? 0) + 1;
  assert.deepEqual(counts, { 'after 0': 100, 'after 1': 100, 'after 2': 100, 'after 3': 100 });
}

const flushPino = `
  const flush = () => new Promise((resolve, reject) => logger.flush((error) => (error ? reject(error) : resolve())));
  gridcentric.on('before', flush);`;

inBothModes('pino with a transport', async (run, context) => {
  check(await logged(run, context, `
    const pino = require('pino');
    const transport = pino.transport({ target: 'pino/file', options: { destination: file, append: true, minLength: 1 } });
    const logger = pino(transport);
    ${flushPino}`));
});

inBothModes('pino with a destination that buffers', async (run, context) => {
  check(await logged(run, context, `
    const pino = require('pino');
    const destination = pino.destination({ dest: file, minLength: 4096, sync: false });
    const logger = pino(destination);
    const flushed = () => new Promise((resolve, reject) => logger.flush((error) => (error ? reject(error) : resolve())));
    const flush = async () => {
      await flushed(); // what is being written, but not what came meanwhile
      destination.flushSync();
    };
    gridcentric.on('before', flush);`));
});

inBothModes('winston with a file', async (run, context) => {
  check(await logged(run, context, `
    const winston = require('winston');
    const transport = new winston.transports.File({ filename: file, options: { flags: 'a' } });
    const logger = winston.createLogger({ format: winston.format.json(), transports: [transport] });
    // Each piped into the next; what one has handed on may be in the buffer of either side of the next.
    const streams = () => [logger, transport, transport._stream, transport._dest].filter(Boolean);
    const flush = async () => {
      while (streams().some((stream) => stream.writableLength || stream.readableLength)) await new Promise(setImmediate);
    };
    gridcentric.on('before', flush);`));
});
