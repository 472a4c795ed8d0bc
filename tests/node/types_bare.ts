// Compiled, never run: a program of a project that has neither @types/node nor lib "dom".
import gridcentric = require('gridcentric');
import { setup, type Options } from 'gridcentric/autoscale';

async function bare(): Promise<void> {
  const ticket: string = await gridcentric.requestTicket(1, 1, 1, 0, { ref: false });
  const [{ report, how }] = await gridcentric.wait(ticket, 1000);
  const bytes: Uint8Array | undefined = report;
  const first: number | undefined = bytes?.[0];
  await gridcentric.join(new Uint8Array([1, 2]));
  await gridcentric.join(new DataView(new ArrayBuffer(1)));
  const options: Options = { usersPerClone: first, log: () => {} };
  await setup(8080, 3000, options).ready;
  if (how === 'joined') await gridcentric.join('text');
  // @ts-expect-error a report is bytes or text
  await gridcentric.join(1);
  // @ts-expect-error a string is not a signal
  await gridcentric.sync({ signal: 'now' });
}

void bare;
