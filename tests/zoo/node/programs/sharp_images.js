'use strict';
// sharp: pictures that libuv's and libvips' threads are working on at the clone are finished, the same, in each clone.
const crypto = require('node:crypto');
const sharp = require('sharp');
const { assert, family, play } = require('../harness.js');

play(async () => {
  const background = { r: 10, g: 100, b: 200 };
  const picture = await sharp({ create: { width: 600, height: 400, channels: 3, background } }).png().toBuffer();
  const resized = async (width) => {
    const bytes = await sharp(picture).resize(width).rotate(10).jpeg().toBuffer();
    return crypto.createHash('sha256').update(bytes).digest('hex');
  };
  const before = await resized(300);
  const underWay = Promise.all([200, 201, 202, 203].map(resized));
  const [master, clones] = await family(async () => [await resized(300), ...await underWay]);
  assert.equal(master[0], before);
  assert.deepEqual(clones, [master, master, master]);
});
