'use strict';
// A program that scales itself, driven by the tests: it reads commands as JSON lines, executes them, and answers with its
// state. driver.py is the same in Python. The app behind the proxy says which domain answers, and echoes.

const http = require('node:http');
const readline = require('node:readline');
const { setup } = require('gridcentric/autoscale');

const { listenPort, appPort, options, chances } = JSON.parse(process.argv[2]);
let now = 0;
let closed = false;
const log = [];
const events = [];

const functions = {
  oldest: (clones) => clones[0],
  vmid: (clones) => clones.at(-1).vmid,
  broken: () => { throw new Error('no idea'); },
  wrong: () => 99,
};
if (options.strategy?.function) options.strategy = functions[options.strategy.function];
functions.parity = ({ url }) => ({ '/even': 'even', '/odd': 'odd' })[url];
functions.yes = () => true;
functions.no = () => 'yes';
for (const name of ['users', 'dashboard']) if (options[name]?.function) options[name] = functions[options[name].function];

async function main() {
  const app = http.createServer((request, response) => response.end('master'));
  await new Promise((resolve) => { app.listen(appPort, '127.0.0.1', resolve); });
  const scaler = setup(listenPort, appPort, {
    host: '127.0.0.1', interval: 2 ** 31 - 1, signals: false, ...options,
    clock: () => now, random: () => chances.shift() ?? 0,
    log: (text) => log.push(text), onScale: (event) => events.push(event),
  });
  const close = () => scaler.close().then(() => { closed = true; });
  const does = {
    state: () => {},
    tick: () => scaler.tick(),
    advance: ({ ms }) => { now += ms; },
    start_close: () => { close(); },
    close: () => close().then(() => app.close()),
  };
  const say = () => {
    process.stdout.write(`${JSON.stringify({ ...scaler.state(), closed, log: log.splice(0), events: events.splice(0) })}\n`);
  };
  await scaler.ready;
  say();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    await does[command.do](command);
    say();
    if (command.do === 'close') return process.stdin.destroy();
  }
}

main();
