'use strict';
// Which modules of its own Node has loaded in this thread, so that none is loaded to learn that there is nothing to do for it.
// It must not know: what is done for which module.

/** @type {string[] | undefined} not documented */
const loaded = /** @type {any} */ (process).moduleLoadList;

/**
 * @param {string} name as it is required, without `node:`
 * @returns {boolean | undefined} undefined: this Node does not tell
 */
function isLoaded(name) {
  return loaded?.includes(`NativeModule ${name}`);
}

module.exports = { isLoaded };
