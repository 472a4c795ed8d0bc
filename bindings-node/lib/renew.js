'use strict';
// Uses up the random numbers that Node and npm packages have drawn in advance, which every clone would otherwise use.
// Rows NODE and PACKAGE of core/include/gridcentric/generators.def.
// It must not know: how it is called in a clone. Its source also runs in threads that have not loaded gridcentric
// (src/isolates.cpp), so it refers to nothing outside itself.

/** Entries of crypto.randomUUID()'s cache: after this many calls it has been refilled and holds nothing inherited. */
const UUID_CACHE = 128;

/**
 * @param {(name: string) => any} builtin returns a built-in module
 * @param {boolean} inClone if false, do only what the program does not notice
 */
function renew(builtin, inClone) {
  /** The same for crypto.randomInt(): 6 KiB, 6 bytes each. */
  const INT_CACHE = 1024;
  /** A used-up pool has started again after at most this many draws; otherwise it is a different kind of pool. */
  const MOST_DRAWS = 10000;

  const crypto = builtin('crypto');
  if (!crypto.randomUUID) return; // a Node built without OpenSSL
  for (let i = 0; i < UUID_CACHE; ++i) crypto.randomUUID();
  for (let i = 0; i < INT_CACHE; ++i) crypto.randomInt(2); // uses at least one entry

  /** nanoid: random(n) returns the next part of the pool, which starts again when less than that is left. */
  function nanoid({ random }) {
    const size = 64;
    let last = random(size);
    for (let i = 0; i < MOST_DRAWS; ++i) {
      const next = random(size);
      if (next.buffer !== last.buffer || next.byteOffset !== last.byteOffset + size) return;
      last = next;
    }
  }

  /** uuid: a pool of 256 bytes, 16 per draw. */
  function uuid({ default: draw }) {
    for (let i = 0; i <= 16; ++i) draw();
  }

  /** bson: a public counter, and 5 private bytes of the process; the latter are overwritten in each generated id. */
  function bson({ ObjectId }) {
    if (!inClone) return;
    ObjectId.index = crypto.randomInt(0x1000000);
    const before = ObjectId.generate;
    if (before.gridcentric) return void before.gridcentric.set(crypto.randomBytes(5));
    const own = Uint8Array.from(crypto.randomBytes(5));
    ObjectId.generate = Object.assign(
      (...given) => {
        const id = before.apply(ObjectId, given);
        id.set(own, 4);
        return id;
      },
      { gridcentric: own },
    );
  }

  const pools = [
    { file: /[/\\]node_modules[/\\]nanoid[/\\]/, has: 'random', empty: nanoid },
    { file: /[/\\]node_modules[/\\]uuid[/\\].*[/\\]rng\.js$/, has: 'default', empty: uuid },
    { file: /[/\\]node_modules[/\\]bson[/\\]/, has: 'ObjectId', empty: bson },
  ];
  for (const [path, { exports: exported }] of Object.entries(builtin('module')._cache)) {
    if (!path.includes('node_modules')) continue;
    const pool = pools.find(({ file, has }) => file.test(path) && typeof exported?.[has] === 'function');
    pool?.empty(exported);
  }
}

/** With Node 18 a thread whose program is an ES module does not give access to Node's modules. But object URLs take numbers from the same
 * cache. */
function renewByUrls() {
  const blob = new Blob([]);
  for (let i = 0; i < UUID_CACHE; ++i) URL.revokeObjectURL(URL.createObjectURL(blob));
}

/** For a thread that has not loaded gridcentric. If nothing that draws in advance is loaded there, it does nothing. */
const source = `(() => {
  try {
    if (!process.moduleLoadList.includes('NativeModule internal/crypto/random')) return;
    const get = process.getBuiltinModule ?? process.mainModule?.require.bind(process.mainModule) ?? globalThis.require;
    const UUID_CACHE = ${UUID_CACHE};
    if (get) (${renew})(get, true);
    else (${renewByUrls})();
  } catch {}
})()`;

module.exports = { renew, source };
