'use strict';
// The types match the package: tsc accepts the correct programs of types.ts and rejects the wrong ones, and every name, error
// code and version is the same on both sides.
const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const ts = require('typescript');
const gridcentric = require('gridcentric');
const { root } = require('./host.js');

const declarations = path.join(root, 'bindings-node', 'index.d.ts');
const program = ts.createProgram([declarations], { strict: true, types: ['node'], typeRoots: [path.join(root, 'node_modules', '@types')] });
const checker = program.getTypeChecker();
const symbols = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(declarations)));
const target = (symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol);

/** tsc's output for this program in a project with the package's declarations, and Node's only if asked. */
function compile(compiler, source, lib, withNode) {
  const project = fs.mkdtempSync(path.join(os.tmpdir(), 'gridcentric-types-'));
  try {
    const modules = path.join(project, 'node_modules');
    fs.mkdirSync(path.join(modules, 'gridcentric'), { recursive: true });
    for (const name of ['package.json', 'index.d.ts', 'autoscale.d.ts']) {
      fs.copyFileSync(path.join(root, 'bindings-node', name), path.join(modules, 'gridcentric', name));
    }
    if (withNode) {
      for (const name of ['@types/node', 'undici-types']) {
        fs.cpSync(path.join(root, 'node_modules', name), path.join(modules, name), { recursive: true });
      }
    }
    fs.copyFileSync(path.join(root, 'tests', 'node', source), path.join(project, source));
    const compilerOptions = {
      noEmit: true, strict: true, skipLibCheck: false, target: 'ES2022', lib,
      module: 'node16', moduleResolution: 'node16', types: withNode ? ['node'] : [],
    };
    fs.writeFileSync(path.join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: [source] }));
    const tsc = path.join(root, 'node_modules', compiler, 'bin', 'tsc');
    return spawnSync(process.execPath, [tsc, '-p', project], { encoding: 'utf8' });
  } finally {
    fs.rmSync(project, { recursive: true, force: true });
  }
}

for (const [compiler, major] of [['typescript', '5'], ['typescript-7', '7']]) {
  for (const [kind, source, lib, withNode] of [
    ["with Node's types", 'types.ts', ['ES2022'], true],
    ['with lib "dom" alone', 'types_bare.ts', ['ES2022', 'DOM'], false],
    ['with no types but its own', 'types_bare.ts', ['ES2022'], false],
  ]) {
    test(`TypeScript ${major} accepts what is right and refuses what is wrong, ${kind}`, () => {
      assert.match(require(`${compiler}/package.json`).version, new RegExp(`^${major}\\.`));
      const run = compile(compiler, source, lib, withNode);
      assert.equal(run.stdout + run.stderr, '');
      assert.equal(run.status, 0);
    });
  }
}

test('every value that is declared is there, and the other way round', () => {
  const declared = symbols.filter((symbol) => target(symbol).flags & ts.SymbolFlags.Value).map((symbol) => symbol.name);
  assert.deepEqual(declared.sort(), Object.keys(gridcentric).sort());
  for (const symbol of symbols.filter((one) => target(one).flags & ts.SymbolFlags.Function)) {
    assert.equal(typeof gridcentric[symbol.name], 'function', symbol.name);
  }
});

test('aliases are declared as the same function', () => {
  for (const symbol of symbols.filter((one) => one.flags & ts.SymbolFlags.Alias)) {
    assert.equal(gridcentric[symbol.name], gridcentric[target(symbol).name], symbol.name);
  }
});

test('the words of the errors are those of the table', () => {
  const table = fs.readFileSync(path.join(root, 'core', 'include', 'gridcentric', 'errors.def'), 'utf8');
  const words = [...table.matchAll(/^GC_ERROR\((\w+),/gm)].map(([, name]) => name.toLowerCase());
  const type = checker.getDeclaredTypeOfSymbol(symbols.find((symbol) => symbol.name === 'ErrorCode'));
  assert.deepEqual(type.types.map((one) => one.value).sort(), words.sort());
});

test('one version', () => {
  const version = fs.readFileSync(path.join(root, 'VERSION'), 'utf8').trim();
  assert.equal(gridcentric.version, version);
  assert.equal(require('gridcentric/package.json').version, version);
});

test('every call can be imported by its name from an ES module', async () => {
  const names = Object.keys(gridcentric).join(', ');
  const script = `import { ${names} } from 'gridcentric'; console.log(typeof clone);`;
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', script], { cwd: root, encoding: 'utf8' });
  assert.equal(run.stderr, '');
  assert.equal(run.stdout, 'function\n');
});
