'use strict';
// Ends of all kinds: a signal reaches the clone that it is sent to, and the master is told how each clone ended.
const { assert, gridcentric, play, until } = require('../harness.js');

play(async () => {
  let signals = 0;
  process.on('SIGUSR2', () => ++signals);
  const ticket = await gridcentric.request_ticket(3, 3, 1, 0);
  const vmid = await gridcentric.clone(ticket);
  if (vmid === 1) process.exit(5);
  if (vmid === 2) process.kill(process.pid, 'SIGKILL');
  if (vmid === 3) {
    process.kill(process.pid, 'SIGUSR2');
    await until(() => signals, 'the signal');
    return gridcentric.join(`${signals}`);
  }
  const ends = (await gridcentric.wait(ticket)).map(({ how, status, report }) => `${how} ${status} ${report ?? ''}`.trim());
  assert.deepEqual([ends, signals], [['exited 5', 'killed 9', 'joined 0 1'], 0]);
  console.log('3 clones reported');
});
