'use strict';
// Builds the package in place with node-gyp, which is told where Node's headers are if this computer has them, so that nothing
// is downloaded. binding.gyp says what is built. A failed build says what failed.
const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const os = require('node:os');
const dependencies = require('./dependencies.js');
const { built, home, root } = require('./sources.js');

/** The prefix whose include/node matches the running Node exactly; undefined if there is none, and node-gyp fetches the headers. */
function headers() {
  const prefix = path.join(path.dirname(fs.realpathSync(process.execPath)), '..');
  let text;
  try {
    text = fs.readFileSync(path.join(prefix, 'include', 'node', 'node_version.h'), 'utf8');
  } catch {
    return undefined;
  }
  const part = (name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1];
  const found = ['MAJOR', 'MINOR', 'PATCH'].map(part).join('.');
  return found === process.versions.node ? path.resolve(prefix) : undefined;
}

/** The command for node-gyp: npm's own; without npm, the one on the PATH. */
function nodeGyp() {
  const own = process.env.npm_config_node_gyp;
  return own ? [process.execPath, own] : ['node-gyp'];
}

/** Debian's node-gyp keeps gyp among the modules of Debian's Python, where no other Python (a venv's, for example) finds it. */
function python(program) {
  const ofDebian = program.some((word) => word.startsWith('/usr/share/nodejs/'));
  return ofDebian && !process.env.npm_config_python ? ['--python=/usr/bin/python3'] : [];
}

function missingTools() {
  const tools = [process.env.CXX || 'g++', 'make', 'python3'].map((tool) => tool.split(' ')[0]);
  return tools.filter((tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).error);
}

/** The first mention of an error in the output, with its context; otherwise the output's end. */
function reasons(output) {
  const lines = output.split('\n').filter((line) => line.trim() && !/^gyp (info|verb)|^make(\[\d+\])?: (Entering|Leaving)/.test(line));
  const telling = /\berror\b|fatal|Error:|No such file|not found|cannot|can't|undefined reference/i;
  const first = lines.findIndex((line) => telling.test(line));
  return (first < 0 ? lines.slice(-10) : lines.slice(Math.max(0, first - 4), first + 10)).join('\n');
}

/** Runs a command, shows its output, and finally returns the output with the exit code. */
function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: home, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    /** @type {(from: import('node:stream').Readable, to: NodeJS.WriteStream) => void} */
    const show = (from, to) => {
      from.setEncoding('utf8').on('data', (text) => {
        output += text;
        to.write(text);
      });
    };
    show(child.stdout, process.stdout);
    show(child.stderr, process.stderr);
    child.on('error', (error) => resolve({ code: error.message, output }));
    child.on('close', (code, signal) => resolve({ code: code ?? signal, output }));
  });
}

function fail(text) {
  console.error(`gridcentric: ${text}`);
  process.exit(1);
}

async function build() {
  // An npm that copied the folder may have left these, and the dashboard's page would be taken from them.
  if (root() !== home) spawnSync(process.execPath, [path.join(__dirname, 'pack.js'), 'remove'], { stdio: 'inherit' });
  dependencies.ensure();
  const missing = missingTools();
  if (missing.length) fail(`the addon can't be built: no ${missing.join(', no ')} on PATH (Debian: apt-get install g++ make python3)`);
  // make does not know of the library that was built elsewhere: the addon is always linked with it anew.
  if (built()) fs.rmSync(path.join(home, 'build', 'Release', 'gridcentric.node'), { force: true });
  const program = nodeGyp();
  const prefix = process.env.npm_config_nodedir ? undefined : headers();
  const options = [...python(program), ...(prefix ? [`--nodedir=${prefix}`] : [])];
  for (const step of [['configure'], ['build', '--jobs', String(os.availableParallelism?.() ?? os.cpus().length)]]) {
    const [command, ...first] = program;
    const { code, output } = await run(command, [...first, ...step, ...options]);
    if (code === 0) continue;
    fail(`the addon can't be built: "node-gyp ${step[0]}" ended with ${code}:\n${reasons(output)}`);
  }
}

build();
