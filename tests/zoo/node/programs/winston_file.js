'use strict';
// winston to a file: its stream drained by a handler of 'before', its lines are written once, and by each what it logs.
const fs = require('node:fs');
const { once } = require('node:events');
const winston = require('winston');
const { assert, gridcentric, family, play, until } = require('../harness.js');

const lines = () => fs.readFileSync('log', 'utf8').split('\n').slice(0, -1);

play(async () => {
  const file = new winston.transports.File({ filename: 'log', options: { flags: 'a' } });
  const format = winston.format.printf(({ message }) => message);
  const log = winston.createLogger({ transports: [file], format });
  await once(file, 'open');
  const count = (message) => lines().filter((line) => line === message).length;
  const written = (message, lines) => until(() => count(message) === lines, `${lines} times ${message}`);
  gridcentric.on('before', () => written('before', 300));
  for (let n = 0; n < 300; ++n) log.info('before');
  await family(async (vmid) => {
    for (let n = 0; n < 50; ++n) log.info(`${vmid}`);
    await written(`${vmid}`, 50);
  });
  assert.deepEqual(lines().sort(), [0, 1, 2, 3].flatMap((vmid) => Array(50).fill(`${vmid}`)).concat(Array(300).fill('before')));
});
