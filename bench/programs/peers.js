// The same as peers.py by Node's cluster.fork: peers.js cluster COPIES SOCKET. Workers are new processes, which make the state anew.
'use strict';
const cluster = require('node:cluster');
const net = require('node:net');
const readline = require('node:readline');

const [, , , copies, path] = process.argv;
const state = new Map();
for (let i = 0; i < 100_000; i++) state.set(`key ${i}`, [i]);

if (cluster.isPrimary) {
  const lines = readline.createInterface({ input: process.stdin });
  lines.once('line', () => {
    const start = performance.now();
    for (let i = 0; i < Number(copies); i++) cluster.fork();
    console.log(performance.now() - start);
    lines.once('line', () => process.exit(0));
  });
  console.log('ready');
} else {
  const connection = net.connect(path, () => connection.write(`${state.size}\n`));
  connection.on('close', () => process.exit(0));
  connection.resume();
}
