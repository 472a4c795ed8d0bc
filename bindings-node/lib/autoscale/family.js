'use strict';
// The clones that autoscale made, as the host knows them: make, list, drain, end. All requests to the host are made here.
// Knows nothing of users, nor of HTTP requests other than its own to the clones' control port.

const http = require('node:http');
const { randomBytes } = require('node:crypto');
const { setTimeout } = require('node:timers/promises');
const guest = require('..');
const { CONTROL_PATH, TOKEN_HEADER } = require('./clone_side');

const CONTROL_TIMEOUT_MS = 2000;
const END_GRACE_MS = 2000; // clones that were drained and still live are killed

class Family {
  constructor(listenPort) {
    this.listenPort = listenPort;
    this.tickets = new Set(); // those whose clones are ours; the program may have other clones
    this.token = randomBytes(16).toString('hex'); // known to the clones, which inherit this memory
    this.running = null;
    this.next = null;
  }

  /** Whether this is a clone. Read from memory, so it is cheap enough for every request. */
  isClone() { return guest.vmid() > 0; }

  /**
   * The living clones, without those being made: at their addresses the master's app may still answer. As of a time after this call: a caller that has just connected to a clone's address learns whether
   * the clone was alive. Simultaneous calls share one listing.
   */
  living() {
    this.next ??= this.#after(this.running);
    return this.next;
  }

  async #after(running) {
    await running?.catch(() => {});
    this.running = this.next;
    this.next = null;
    const domains = await guest.list_domains();
    return domains.filter((domain) => this.tickets.has(domain.ticket) && domain.state === 'running');
  }

  /** Is it there to be sent something? In a clone of this process nobody is: the requests are the master's to send. */
  async lives(vmid) { return !this.isClone() && (await this.living()).some((domain) => domain.vmid === vmid); }

  /**
   * Makes as many clones of this process as there is room for, at most `count`. Returns the vmid: 0 in the master.
   * @throws the guest library's error, after giving the ticket back
   */
  async grow(count) {
    const ticket = await guest.request_ticket(count, 1, 1, 0);
    this.tickets.add(ticket);
    try {
      return await guest.clone(ticket);
    } catch (error) {
      this.tickets.delete(ticket);
      await guest.release_ticket(ticket).catch(() => {}); // the first error is the one that matters
      throw error;
    }
  }

  /** Whether the clone at this address answers with its vmid, from its event loop. */
  async answers(clone) {
    return (await this.#control('GET', clone, 'health')).vmid === clone.vmid;
  }

  /** Asks a clone to end by join. It ends a little later. */
  async drain(clone) { await this.#control('POST', clone, 'join'); }

  async kill(vmid) {
    await guest.kill(vmid).catch((error) => {
      if (error.code !== 'no_such_domain') throw error; // it has ended in the meantime
    });
  }

  /** Resolves when no clone is left. */
  async endAll() {
    await Promise.all((await this.living()).map((clone) => this.drain(clone).catch(() => this.kill(clone.vmid))));
    const until = performance.now() + END_GRACE_MS;
    let left = await this.living();
    while (left.length && performance.now() < until) {
      await setTimeout(20);
      left = await this.living();
    }
    await Promise.all(left.map((clone) => this.kill(clone.vmid)));
  }

  async ledger() { return guest.list_tickets(); }

  #control(method, clone, what) {
    return new Promise((resolve, reject) => {
      if (this.isClone()) throw new Error('this is a clone: its master says what becomes of others');
      const request = http.request({
        method, host: clone.ip, port: this.listenPort, path: `${CONTROL_PATH}${what}`, agent: false,
        headers: { [TOKEN_HEADER]: this.token }, timeout: CONTROL_TIMEOUT_MS,
      });
      request.on('timeout', () => request.destroy(new Error(`no answer within ${CONTROL_TIMEOUT_MS} ms`)));
      request.on('error', reject);
      request.on('response', async (response) => {
        try {
          let text = '';
          for await (const chunk of response) text += chunk;
          if (response.statusCode >= 300) throw new Error(`the clone answered ${response.statusCode}: ${text.slice(0, 200)}`);
          resolve(JSON.parse(text));
        } catch (error) {
          reject(error);
        }
      });
      request.end();
    });
  }
}

module.exports = { Family };
