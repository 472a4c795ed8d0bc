'use strict';
// The rules for all JavaScript of the checkout. Layout is left to the authors: 2 spaces, 110 to 120 columns.
const js = require('@eslint/js');
const globals = require('globals');

module.exports = [
  { ignores: ['**/node_modules/', '**/build/', 'bindings-node/core/', 'bindings-node/autoscale/', '.venv/', '.nox/', 'bench-out/'] },
  js.configs.recommended,
  {
    files: ['**/*.js'],
    languageOptions: { ecmaVersion: 2023, sourceType: 'commonjs', globals: globals.node },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
    },
  },
  {
    // Pages that a browser runs.
    files: ['demos/stage/stage.js'],
    languageOptions: { sourceType: 'script', globals: globals.browser },
  },
  { files: ['**/*.mjs'], languageOptions: { sourceType: 'module', globals: globals.node } },
];
