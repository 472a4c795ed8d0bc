'use strict';
// When another project installs this folder, npm links it without its dependencies: this installs them into the folder. If
// npm has installed the package as a package, there is nothing to do.
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { home } = require('./sources.js');

/** The dependencies that a module of this package would not find where Node looks for them. */
function missing() {
  const { dependencies } = JSON.parse(fs.readFileSync(path.join(home, 'package.json'), 'utf8'));
  const places = require.resolve.paths('gridcentric') ?? [];
  return Object.keys(dependencies).filter((name) => !places.some((place) => fs.existsSync(path.join(place, name, 'package.json'))));
}

/** npm's general settings, such as where it keeps files, but not those of the installation that runs this. */
function environment() {
  const ours = /^npm_(package|lifecycle)_|^npm_config_(local_prefix|global|global_prefix|prefix|save|workspace|workspaces|include|omit)$/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name)));
}

function ensure() {
  const names = missing();
  if (names.length === 0) return;
  console.log(`gridcentric: installing ${names.join(', ')} in ${home}`);
  const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ['npm'];
  const options = ['--omit=dev', '--ignore-scripts', '--no-save', '--no-package-lock', '--no-audit', '--no-fund'];
  const [command, ...first] = npm;
  const done = spawnSync(command, [...first, 'install', ...options], { cwd: home, env: environment(), encoding: 'utf8' });
  if (done.status === 0 && missing().length === 0) return;
  const said = [done.error?.message, done.stdout, done.stderr].filter(Boolean).join('\n');
  console.error(`gridcentric: ${home} lacks ${missing().join(', ')}, and "npm install" there failed:\n${said}`);
  process.exit(1);
}

module.exports = { ensure };
