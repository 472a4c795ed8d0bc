'use strict';
// What Node and npm packages have drawn in advance from the generators of random numbers, and would use up in every clone alike, is
// used up here. Rows NODE and PACKAGE of core/include/gridcentric/generators.def.
// It must not know: how it is called in a clone. Its source is also run in threads that have not loaded gridcentric
// (src/isolates.cpp), so that it refers to nothing else.

/** Entries of crypto.randomUUID()'s cache: after as many calls it has been filled anew and holds nothing inherited. */
const UUID_CACHE = 128;

/**
 * @param {(name: string) => any} builtin gives a module of Node's
 * @param {boolean} inClone false: only what the program does not notice
 */
function renew(builtin, inClone) {
  /** The same for crypto.randomInt(): 6 KiB of 6 bytes each. */
  const INT_CACHE = 1024;
  /** The most draws after which a pool that is used up has begun anew; it is another kind of pool otherwise. */
  const MOST_DRAWS = 10000;

  const crypto = builtin('crypto');
  if (!crypto.randomUUID) return; // a Node built without OpenSSL
  for (let i = 0; i < UUID_CACHE; ++i) crypto.randomUUID();
  for (let i = 0; i < INT_CACHE; ++i) crypto.randomInt(2); // at least one entry each

  /** nanoid: random(n) gives the next part of the pool, which begins anew when not so much is left. */
  function nanoid({ random }) {
    const size = 64;
    let last = random(size);
    for (let i = 0; i < MOST_DRAWS; ++i) {
      const next = random(size);
      if (next.buffer !== last.buffer || next.byteOffset !== last.byteOffset + size) return;
      last = next;
    }
  }

  /** uuid: a pool of 256 bytes, 16 of them a draw. */
  function uuid({ default: draw }) {
    for (let i = 0; i <= 16; ++i) draw();
  }

  /** bson: a counter that anybody may set, and 5 bytes of the process that nobody may; so they are put into what is made. */
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

/** With Node 18 a thread whose program is an ES module gives none of Node's modules away. URLs of objects have numbers from the same
 * cache, though. */
function renewByUrls() {
  const blob = new Blob([]);
  for (let i = 0; i < UUID_CACHE; ++i) URL.revokeObjectURL(URL.createObjectURL(blob));
}

/** For a thread that has not loaded gridcentric; where nothing is loaded that draws in advance, there is nothing to be done. */
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
