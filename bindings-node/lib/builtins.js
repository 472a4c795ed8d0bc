'use strict';
// Which built-in modules Node has loaded in this thread, so that none is loaded only to find that it needs no work.
// It must not know: what is done for which module.

/** @type {string[] | undefined} not documented */
const loaded = /** @type {any} */ (process).moduleLoadList;

/**
 * @param {string} name as passed to require(), without `node:`
 * @returns {boolean | undefined} undefined: this Node does not say
 */
function isLoaded(name) {
  return loaded?.includes(`NativeModule ${name}`);
}

module.exports = { isLoaded };
