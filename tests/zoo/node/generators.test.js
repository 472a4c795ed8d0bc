'use strict';
// The rows of core/include/gridcentric/generators.def that are Node's or npm packages', tried with the packages themselves, which
// package.json beside this names. A package that is not installed is skipped: NODE_PATH says where they are, for a session that
// installs them.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const { createRequire } = require('node:module');
const path = require('node:path');
const { test } = require('node:test');
const { pathToFileURL } = require('node:url');
const { inBothModes } = require('../../node/family.js');

const CLONES = 3;

/** The file of a package, also of one that another brings; undefined where it is not installed. */
function resolve(...names) {
  try {
    return names.reduce((from, name) => createRequire(from).resolve(name), path.join(__dirname, 'x.js'));
  } catch {
    return fromNodePath(names);
  }
}

function fromNodePath([first, ...rest]) {
  try {
    return rest.reduce((from, name) => createRequire(from).resolve(name), require.resolve(first));
  } catch {
    return undefined;
  }
}

/** require() of an ES module. */
const requiresModules = process.features.require_module === true;

/** Rows that are reseeded, by package and version: what each domain draws, in a program that has the file. */
const reseeded = {
  'nanoid 3': { file: resolve('postcss', 'nanoid'), draw: '({ nanoid, customAlphabet }) => [nanoid(), customAlphabet("abcdefgh", 30)()]' },
  'nanoid 5': { file: resolve('nanoid'), draw: '({ nanoid }) => [nanoid()]', needs: requiresModules },
  'uuid 9': { file: resolve('gaxios', 'uuid'), draw: '({ v4, v7 }) => [v4(), v4({}), v4(null, new Uint8Array(16)).join()]' },
  'uuid 14': { file: resolve('uuid'), draw: '({ v4, v7 }) => [v4(), v4({}), v7().slice(-12)]', needs: requiresModules },
  bson: { file: resolve('bson'), draw: '({ ObjectId }) => [0, 1].map(() => new ObjectId().toHexString().slice(8))' },
  'bson, of the process': { file: resolve('bson'), draw: '({ ObjectId }) => [new ObjectId().toHexString().slice(8, 18)]' },
  mongodb: { file: resolve('mongodb'), draw: '({ ObjectId }) => [new ObjectId().toHexString().slice(8)]' },
};

for (const [name, { file, draw, needs = true }] of Object.entries(reseeded)) {
  if (!file || !needs) {
    test(name, { skip: file ? 'this Node has no require() of ES modules' : 'not installed' }, () => {});
    continue;
  }
  inBothModes(`${name}: each domain draws its own numbers, clones of clones too`, async (run) => {
    const stdout = await run(`
      const draw = () => (${draw})(require(${JSON.stringify(file)}));
      draw();
      family(${CLONES}, async (vmid) => {
        if (vmid !== 1) return [draw()];
        return [draw(), ...(await family(1, draw))];
      }).then((all) => console.log(JSON.stringify(all)));`);
    const domains = JSON.parse(stdout).flat();
    // Clone 1 has drawn again, when it cloned: of what is the process's, the same.
    const [master, first, again, inner, second, third] = domains;
    for (const [i] of master.entries()) {
      const numbers = [master, first, inner, second, third].map((drawn) => drawn[i]);
      assert.equal(new Set(numbers).size, CLONES + 2, `${numbers}`);
      assert.notEqual(again[i], inner[i]);
    }
  });
}

/** Rows that repeat: what a program loads, and how. */
const repeating = {
  'nanoid-esm': { file: resolve('nanoid'), by: 'import' },
  'bson-esm': { file: resolve('bson')?.replace(/bson\.cjs$/, 'bson.node.mjs'), by: 'import' },
  'uuid-esm': { file: resolve('gaxios', 'uuid')?.replace(/dist[/\\]index\.js$/, path.join('dist', 'esm-node', 'index.js')), by: 'import' },
  'uuid-v1': { file: resolve('gaxios', 'uuid'), by: 'require' },
  "Rust's rand": { file: resolve('@node-rs/argon2'), by: 'require', declared: 'argon2' },
};

for (const [name, { file, by, declared = name }] of Object.entries(repeating)) {
  if (!file) {
    test(name, { skip: 'not installed' }, () => {});
    continue;
  }
  inBothModes(`${name}, loaded by ${by}, is named, refused and can be declared`, async (run) => {
    const load = by === 'import' ? `import(${JSON.stringify(pathToFileURL(file))})` : `Promise.resolve(require(${JSON.stringify(file)}))`;
    const stdout = await run(`
      (async () => {
        await ${load};
        const named = async () => (await gridcentric.explain()).report.split('\\n').filter((line) => line.includes('random numbers of'));
        const before = await named();
        process.env.GRIDCENTRIC_STRICT = '1';
        const refused = await family(1, () => 0).catch((error) => [error.code, error.message]);
        process.env.GRIDCENTRIC_RESEEDED = ${JSON.stringify(declared)} + ',uuid-v1';
        const after = await named();
        console.log(JSON.stringify([before, refused, after, await family(1, (vmid) => vmid)]));
      })();`);
    const [before, [code, message], after, clones] = JSON.parse(stdout);
    assert.ok(before.some((line) => line.startsWith(`note: random numbers of ${name} (`)), before.join('\\n'));
    assert.equal(code, 'not_supported');
    assert.match(message, /^GRIDCENTRIC_STRICT is set, and random numbers of /);
    assert.deepEqual([after, clones], [[], [0, 1]]);
  });
}

test('every row for npm packages is tried here', () => {
  const table = fs.readFileSync(path.join(__dirname, '../../../core/include/gridcentric/generators.def'), 'utf8');
  const rows = [...table.matchAll(/^GC_GENERATOR\("([^"]+)", PACKAGE, /gm)].map(([, name]) => name);
  const packages = Object.keys(reseeded).map((name) => `${name.split(/[ ,]/)[0]} of npm`);
  const tried = new Set([...packages.filter((name) => name !== 'mongodb of npm'), ...Object.keys(repeating)]);
  tried.delete("Rust's rand"); // a row of what packages bring
  assert.ok(rows.length > 5, rows);
  assert.deepEqual(rows.sort(), [...tried].sort());
});
