// TypeScript that Node runs as it is, by taking its types off: a program clones itself, and a clone imports more.
// node: 24
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const { assert, family, play } = createRequire(import.meta.url)('../harness.js');

class Counter {
  count: number = 0;
  add(n: number): number {
    return (this.count += n);
  }
}

play(async (): Promise<void> => {
  const counter = new Counter();
  counter.add(5);
  const late: string = path.resolve('late.ts');
  writeFileSync(late, 'export const double = (n: number): number => 2 * n;');
  const [master, clones] = await family(async (vmid: number) => (await import(late)).double(counter.add(vmid)));
  assert.deepEqual([master, ...clones], [10, 12, 14, 16]);
});
