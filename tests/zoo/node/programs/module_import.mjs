// ES modules: top-level await goes on in each clone, import() loads more there, and workers that are modules start.
import { writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Worker } from 'node:worker_threads';

const { assert, family } = createRequire(import.meta.url)('../harness.js');
const late = path.resolve('late.mjs');
writeFileSync(late, `import { parentPort } from 'node:worker_threads';
export default 'late';
parentPort?.postMessage('worker');`);

const [master, clones] = await family(async () => {
  const { default: imported } = await import(late);
  const [said] = await once(new Worker(late), 'message');
  return [imported, said];
});
assert.deepEqual([master, ...clones], Array(4).fill(['late', 'worker']));
