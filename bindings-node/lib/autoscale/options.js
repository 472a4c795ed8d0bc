'use strict';
// The options of autoscale.setup(): their defaults, what each may be, and the error when it is something else.
// docs/autoscale.md holds the same table in words; gridcentric/autoscale/options.py is its twin in Python.
// Knows nothing of sockets or clones.

const STRATEGIES = ['latest', 'round-robin', 'least-loaded', 'random'];

const MAX_MS = 2 ** 31 - 1; // what setTimeout takes

const integer = (low, high) => ({
  expected: `a whole number from ${low} to ${high}`,
  holds: (value) => Number.isInteger(value) && value >= low && value <= high,
});
const orFalse = (rule) => ({
  expected: `${rule.expected}, or false`,
  holds: (value) => value === false || rule.holds(value),
});
const aFunction = { expected: 'a function', holds: (value) => typeof value === 'function' };
const aBoolean = { expected: 'true or false', holds: (value) => typeof value === 'boolean' };

const isRecord = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
const ofUsers = {
  expected: "'cookie', 'address', { header: NAME } or a function",
  holds: (value) => value === 'cookie' || value === 'address' || typeof value === 'function'
    || (isRecord(value) && Object.keys(value).length === 1 && typeof value.header === 'string' && value.header !== ''),
};
const ofDashboard = {
  expected: "true, false, { token: TEXT of at least 16 characters } or a function",
  holds: (value) => typeof value === 'boolean' || typeof value === 'function'
    || (isRecord(value) && Object.keys(value).length === 1 && typeof value.token === 'string' && value.token.length >= 16),
};

/** name: [default, rule]. A default of undefined: nothing unless given. */
const TABLE = {
  listenPort: [undefined, integer(1, 65535)],
  appPort: [undefined, integer(1, 65535)],
  usersPerClone: [2, integer(1, 1e6)],
  minClones: [0, integer(0, 1024)],
  maxClones: [32, integer(1, 1024)],
  interval: [1000, integer(10, MAX_MS)],
  strategy: ['latest', {
    expected: `one of ${STRATEGIES.join(', ')}, or a function`,
    holds: (value) => STRATEGIES.includes(value) || typeof value === 'function',
  }],
  cooldown: [0, integer(0, MAX_MS)],
  drain: [60000, orFalse(integer(0, MAX_MS))],
  userTimeout: [30000, integer(1, MAX_MS)],
  holdTimeout: [15000, integer(1, MAX_MS)],
  maxHeld: [1000, integer(0, 1e6)],
  requestTimeout: [60000, integer(1, MAX_MS)],
  maxConnections: [10000, integer(1, 1e6)],
  users: ['cookie', ofUsers],
  trustProxy: [false, aBoolean],
  host: [undefined, { expected: 'an address to listen on', holds: (value) => typeof value === 'string' }],
  dashboard: [true, ofDashboard],
  signals: [true, aBoolean],
  onScale: [() => {}, aFunction],
  log: [(text) => process.stderr.write(`gridcentric: ${text}\n`), aFunction],
  // What tests put in the place of the world.
  clock: [() => performance.now(), aFunction],
  random: [Math.random, aFunction],
};

/**
 * What GRIDCENTRIC_AUTOSCALE says: a JSON object of options, listenPort and appPort among them, that a program is
 * started with. It goes before what the program itself says.
 * @throws {TypeError} it is no such object
 */
function fromEnvironment() {
  const text = process.env.GRIDCENTRIC_AUTOSCALE;
  if (!text) return {};
  try {
    const value = JSON.parse(text);
    if (value && typeof value === 'object' && !Array.isArray(value)) return value;
  } catch { /* said below */ }
  throw new TypeError(`autoscale: GRIDCENTRIC_AUTOSCALE is ${show(text)}, expected a JSON object of options`);
}

/**
 * All options with their defaults.
 * @throws {TypeError} naming the option, what was given and what was expected
 */
function readOptions(listenPort, appPort, options = {}) {
  if (options === null || typeof options !== 'object') {
    throw new TypeError(`autoscale: options is ${show(options)}, expected an object`);
  }
  const given = { listenPort, appPort, ...options, ...fromEnvironment() };
  const read = {};
  for (const [name, [standard]] of Object.entries(TABLE)) read[name] = standard;
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(TABLE, name)) {
      throw new TypeError(`autoscale: there is no option '${name}'; there are ${Object.keys(TABLE).slice(2).join(', ')}`);
    }
    if (value === undefined && name in options) continue;
    const [, rule] = TABLE[name];
    if (!rule.holds(value)) throw new TypeError(`autoscale: ${name} is ${show(value)}, expected ${rule.expected}`);
    read[name] = value;
  }
  if (read.listenPort === read.appPort) {
    throw new TypeError(`autoscale: listenPort and appPort are both ${read.appPort}; the app needs a port of its own behind the proxy`);
  }
  if (read.minClones > read.maxClones) {
    throw new TypeError(`autoscale: minClones (${read.minClones}) is above maxClones (${read.maxClones})`);
  }
  return Object.freeze(read);
}

function show(value) {
  return typeof value === 'string' ? `'${value.slice(0, 80)}'` : String(value);
}

module.exports = { readOptions };
