'use strict';
// vite's development server: master and clones answer with modules that were transformed before the clone.
// zoo: full
const fs = require('node:fs');
const path = require('node:path');
const { assert, family, play, get } = require('../harness.js');

play(async () => {
  const { createServer } = await import(require.resolve('vite').replace('index.cjs', 'dist/node/index.js'));
  const root = fs.realpathSync('.');
  fs.writeFileSync(path.join(root, 'index.html'), '<script type="module" src="/one.ts"></script>');
  fs.writeFileSync(path.join(root, 'one.ts'), 'const one: number = 1; export default one;');
  const server = await createServer({
    root, cacheDir: path.join(root, 'cache'), configFile: false, logLevel: 'error', optimizeDeps: { noDiscovery: true },
    server: { host: '0.0.0.0', port: 0, strictPort: false, allowedHosts: true },
  });
  await server.listen();
  const { port } = server.httpServer.address();
  const one = await get('127.0.0.1', port, '/one.ts');
  assert.match(one, /const one = 1;/);
  await family(async () => {}, async (address) => {
    assert.equal(await get(address, port, '/one.ts'), one);
    assert.match(await get(address, port, '/'), /one\.ts/);
  });
  await server.close();
});
