'use strict';
// The inspector: a session inside goes on, and a debugger finds each clone on its own address.
// arguments: --inspect-publish-uid=http
const inspector = require('node:inspector/promises');
const { assert, family, play, get } = require('../harness.js');

play(async () => {
  inspector.open(0, '0.0.0.0');
  const session = new inspector.Session();
  session.connect();
  const evaluate = async (expression) => (await session.post('Runtime.evaluate', { expression })).result.value;
  assert.equal(await evaluate('6 * 7'), 42);
  const { port, pathname } = new URL(inspector.url());
  const [master, clones] = await family(() => evaluate('6 * 7'), async (address) => {
    const [target] = JSON.parse(await get(address, port, '/json/list'));
    assert.equal(`/${target.id}`, pathname);
  });
  assert.deepEqual([master, ...clones], [42, 42, 42, 42]);
});
