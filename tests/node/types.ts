// Compiled, never run: programs that the types must accept, and programs that they must reject.
import gridcentric = require('gridcentric');
import { requestTicket, clone, type TicketInfo, type Failure } from 'gridcentric';

async function promises(signal: AbortSignal): Promise<void> {
  const ticket: string = await requestTicket(4, 2, 1, 1000, { signal, ref: false });
  const vmid: number = await clone(ticket);
  const infos: TicketInfo[] = await gridcentric.list_tickets();
  const status: 'pending' | 'reserved' | 'cloning' | 'active' | 'closed' = infos[0].status;
  await gridcentric.sync(ticket, 1000);
  await gridcentric.sync();
  await gridcentric.sync({ signal });
  const [{ how, report }] = await gridcentric.wait(ticket, -1, { signal });
  const text: string | undefined = report?.toString();
  await gridcentric.kill(vmid);
  await gridcentric.join(Buffer.from('x'));
  const { can_clone }: { can_clone: boolean } = await gridcentric.explain();
  console.log(status, how, text, can_clone, gridcentric.vmid() + 1, gridcentric.my_ip().length, !gridcentric.isMaster());
}

function callbacks(): void {
  gridcentric.request_ticket(1, 1, 1, 0, (ticket, error) => {
    if (error) return console.log(error.code === 'timed_out', error.errno + 1);
    gridcentric.clone(ticket!, (vmid: number, failure: Failure | undefined) => console.log(vmid, failure?.message));
  });
  gridcentric.wait('x', (results) => console.log(results?.length));
  gridcentric.join_noreport((_, error) => console.log(error));
  gridcentric.on('clone', (vmid) => console.log(vmid + 1));
}

function refused(): void {
  // @ts-expect-error a count is a number
  void gridcentric.request_ticket('1', 1, 1, 0);
  // @ts-expect-error the timeout is missing
  void gridcentric.request_ticket(1, 1, 1);
  // @ts-expect-error a ticket is a string
  void gridcentric.clone(1);
  // @ts-expect-error there is no such event
  gridcentric.on('fork', () => {});
  // @ts-expect-error there is no such option
  void gridcentric.wait('x', 0, { timeout: 1 });
  // @ts-expect-error the ticket of a callback may be undefined
  gridcentric.request_ticket(1, 1, 1, 0, (ticket) => ticket.length);
  // @ts-expect-error a quick call is synchronous
  gridcentric.vmid().then(() => {});
}

void [promises, callbacks, refused];
