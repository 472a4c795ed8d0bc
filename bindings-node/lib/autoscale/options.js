'use strict';
// Checks the options of autoscale.setup() against the table that both languages share, autoscale/options.json: names,
// defaults and accepted values. gridcentric/autoscale/options.py is its twin in Python. Knows nothing of sockets or clones.

const { shared } = require('./shared');

const TABLE = JSON.parse(shared('options.json'));

// Defaults that only this language can express.
const FUNCTIONS = {
  onScale: () => {},
  log: (text) => process.stderr.write(`gridcentric: ${text}\n`),
  clock: () => performance.now(),
  random: Math.random,
};

const isRecord = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

// The words of the table that are not themselves values.
const KINDS = {
  true: (value) => value === true,
  false: (value) => value === false,
  'a function': (value) => typeof value === 'function',
  'an address to listen on': (value) => typeof value === 'string',
};

/** One kind of value that an option takes: a check, and its description. */
function rule(taken) {
  if (taken.whole) {
    const [low, high] = taken.whole;
    return [(value) => Number.isInteger(value) && value >= low && value <= high, `a whole number from ${low} to ${high}`];
  }
  if (taken.record) {
    const [key, least, text] = taken.record;
    const holds = (value) => isRecord(value) && Object.keys(value).length === 1
      && typeof value[key] === 'string' && value[key].length >= least;
    return [holds, `{ ${key}: ${text} }`];
  }
  return [KINDS[taken] ?? ((value) => value === taken.slice(1, -1)), taken]; // a word in quotes
}

const RULES = Object.fromEntries(Object.entries(TABLE).map(([name, { takes }]) => {
  const rules = takes.map(rule);
  const expected = rules.map(([, text]) => text).join(', ').replace(/, ([^,]*)$/, ' or $1');
  return [name, { holds: (value) => rules.some(([holds]) => holds(value)), expected }];
}));

/**
 * The contents of GRIDCENTRIC_AUTOSCALE: a JSON object of options, which may include listenPort and appPort. It overrides the
 * program's own options.
 * @throws {TypeError} if it is not such an object
 */
function fromEnvironment() {
  const text = process.env.GRIDCENTRIC_AUTOSCALE;
  if (!text) return {};
  try {
    const value = JSON.parse(text);
    if (isRecord(value)) return value;
  } catch { /* reported below */ }
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
  for (const [name, { default: standard }] of Object.entries(TABLE)) read[name] = standard ?? FUNCTIONS[name];
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(TABLE, name)) {
      throw new TypeError(`autoscale: unknown option '${name}'; the options are ${Object.keys(TABLE).slice(2).join(', ')}`);
    }
    if (value === undefined && name in options) continue;
    const { holds, expected } = RULES[name];
    if (!holds(value)) throw new TypeError(`autoscale: ${name} is ${show(value)}, expected ${expected}`);
    read[name] = value;
  }
  if (read.listenPort === read.appPort) {
    throw new TypeError(`autoscale: listenPort and appPort are both ${read.appPort}; the app needs its own port behind the proxy`);
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
