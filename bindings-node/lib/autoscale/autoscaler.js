'use strict';
// The loop: every interval list the family, plan, clone or drain, let the held requests go, check the clones' health.
// Start here to read autoscale. The rules are in policy.js, the clones in family.js, the traffic in proxy.js.

const guest = require('..');
const { Policy, Refused } = require('./policy');
const { Family } = require('./family');
const { Front } = require('./front');
const { Proxy } = require('./proxy');
const { Users } = require('./users');
const { Dashboard } = require('./dashboard');
const cloneSide = require('./clone_side');

const UNHEALTHY_AFTER = 3; // health checks failed in a row
const DRAIN_GRACE_MS = 5000; // a clone that was asked to join and still lives is killed
const SIGNALS = ['SIGINT', 'SIGTERM'];
const CLOSING = 'the service is being shut down';

const isHostsEnd = (error) => error.code === 'host_unreachable';
/** Why there is no clone, for the world: where the host's socket is concerns nobody there. */
const toUsers = (error) => (isHostsEnd(error) ? 'the host of the clones does not answer' : error.message);

class Autoscaler {
  constructor(options) {
    this.options = options;
    this.policy = new Policy(options);
    this.users = new Users(options);
    this.family = new Family(options.listenPort);
    this.held = new Map(); // a held request's stream -> { user, go, refuse }
    this.records = new Map(); // vmid -> { ms, of, at, firstAnswer, failures, drainedAt }: what is shown and watched
    this.tickets = [];
    this.lastReason = null;
    this.closing = null;
    this.proxy = new Proxy({
      appPort: options.appPort,
      family: this.family,
      retryAfter: Math.max(1, Math.ceil(options.interval / 1000)),
      enter: (request) => this.#enter(request),
      exit: (user) => this.policy.exit(user, this.#now()),
      place: (user, stream) => this.#place(user, stream),
      lost: () => this.#lost(),
      cookie: (user) => this.users.cookie(user),
      listener: (request, user) => this.users.listener(request, user),
      requestTimeout: options.requestTimeout,
      trustProxy: options.trustProxy,
      answered: (clone) => this.#answered(clone),
    });
    this.dashboard = new Dashboard({
      admits: options.dashboard, trusted: options.trustProxy, clock: options.clock,
      snapshot: () => this.state(), me: (request) => this.#me(request),
    });
    this.front = new Front({
      maxConnections: options.maxConnections,
      request: (request, response) => this.#request(request, response),
      upgrade: (request, socket, head) => this.#upgrade(request, socket, head),
    });
    this.signalled = false; // by Ctrl-C or SIGTERM
    this.onSignal = (signal) => this.#signal(signal);
    /** Resolves once the proxy listens; rejects when it can't. */
    this.ready = this.#start();
  }

  /** One round, as every interval. Resolves when it is done; rounds never overlap. */
  tick() {
    this.round ??= this.#round().finally(() => { this.round = null; });
    return this.round;
  }

  /** What the dashboard shows. */
  state() {
    const { listenPort, appPort, usersPerClone, minClones, maxClones, interval, strategy } = this.options;
    const clones = [...this.policy.clones.values()].map(({ vmid, ip, users, draining }) => {
      const { ms, of, at, firstAnswer, failures } = this.records.get(vmid);
      return { vmid, parent: 0, ip, users, draining, ms, of, at, firstAnswer, healthy: failures === 0 };
    });
    return {
      master: { vmid: 0, ip: guest.my_ip(), listenPort, appPort, pid: process.pid, language: 'Node.js' },
      options: { usersPerClone, minClones, maxClones, interval, strategy: typeof strategy === 'function' ? 'function' : strategy },
      users: this.policy.active, held: this.held.size, clones, tickets: this.tickets, problem: this.lastReason,
    };
  }

  /**
   * Accept nothing new; end all clones once what is under way has ended, or been cut off after `endLimit` ms. The app in this
   * process goes on.
   */
  close() {
    this.closing ??= this.#close();
    return this.closing;
  }

  /** What is under way when this closes is waited for no longer. Returns whether it was waited for. */
  cutOff() { return this.front.cutOff(); }

  async #start() {
    const { signals, host, listenPort } = this.options;
    this.family.isClone(); // the first call: from here on who we are is known from memory
    if (signals) for (const signal of SIGNALS) process.on(signal, this.onSignal);
    await this.front.listen({ port: listenPort, host });
    this.#schedule();
  }

  #schedule() {
    this.timer = setTimeout(async () => {
      await this.tick();
      if (this.timer) this.#schedule();
    }, this.options.interval);
  }

  #noMoreRounds() {
    clearTimeout(this.timer);
    this.timer = null;
  }

  async #round() {
    let failure = null;
    try {
      // A private host that has died in the middle of a call has a successor with the next one.
      await this.#refresh().catch((error) => (isHostsEnd(error) ? this.#refresh() : Promise.reject(error)));
      this.policy.expire(this.#now());
      const plan = this.closing ? { request: 0, drain: [] } : this.policy.plan(this.#now());
      for (const vmid of plan.drain) this.#drain(vmid);
      if (plan.request && (await this.#grow(plan.request))) return; // in the clone
      this.lastReason = null;
    } catch (error) {
      failure = toUsers(error);
      if (!this.closing && error.message !== this.lastReason) {
        this.#tell('failed', `no clone could be made: ${error.message}`, { reason: error.message });
      }
      this.lastReason = error.message;
    }
    this.#settle(failure);
    for (const clone of this.policy.clones.values()) this.#check(clone);
    this.tickets = await this.family.ledger().catch(() => this.tickets);
    this.dashboard.point(this.policy.active, this.policy.clones.size);
  }

  /** What the host says of the family becomes what the policy knows. */
  async #refresh(made = {}) {
    const { added, lost } = this.policy.observe(await this.family.living(), this.#now());
    for (const vmid of added) {
      this.records.set(vmid, { ms: null, of: 1, firstAnswer: null, failures: 0, ...made, at: Math.round(this.#now() - this.dashboard.started) });
    }
    for (const vmid of lost) {
      const drained = this.records.get(vmid).drainedAt !== undefined;
      this.records.delete(vmid);
      this.proxy.forget(vmid);
      this.#tell('ended', `clone ${vmid} ${drained ? 'has joined' : 'has ended'}`, { vmids: [vmid] });
    }
    return added;
  }

  /** True in a clone. */
  async #grow(count) {
    const before = performance.now();
    if ((await this.family.grow(count)) > 0) {
      this.#becomeClone();
      return true;
    }
    const ms = Math.round((performance.now() - before) * 10) / 10;
    const added = await this.#refresh({ ms, of: count });
    for (const vmid of added) this.records.get(vmid).of = added.length;
    if (added.length) this.#tell('cloned', `clone ${added.join(', ')} in ${ms} ms`, { vmids: added, ms });
    return false;
  }

  /** From here on this process is a plain app: the proxy's timers, connections and held requests are the master's. */
  #becomeClone() {
    this.#noMoreRounds();
    for (const { refuse } of [...this.held.values()]) refuse(new Refused('this is a clone'));
    this.dashboard.close();
    this.proxy.close();
    this.front.close();
  }

  #drain(vmid) {
    const record = this.records.get(vmid);
    record.drainedAt = this.#now();
    this.#tell('drain', `clone ${vmid} has no users and is asked to join`, { vmids: [vmid] });
    this.family.drain(this.policy.clones.get(vmid)).catch(() => this.#kill(vmid, 'did not take the request to join'));
  }

  async #check(clone) {
    const record = this.records.get(clone.vmid);
    if (clone.draining) {
      if (this.#now() - record.drainedAt > DRAIN_GRACE_MS) this.#kill(clone.vmid, 'did not join');
      return;
    }
    if (record.checking) return;
    record.checking = true;
    const answered = await this.family.answers(clone).catch(() => false);
    record.checking = false;
    // One that is too busy to say so, but sends what it is asked for, makes progress.
    const healthy = this.proxy.hasSpoken(clone.vmid) || answered;
    record.failures = healthy ? 0 : record.failures + 1;
    if (record.failures === UNHEALTHY_AFTER) this.#kill(clone.vmid, `did not answer ${UNHEALTHY_AFTER} health checks`);
  }

  async #kill(vmid, why) {
    const record = this.records.get(vmid);
    if (!record || record.killed) return; // once is enough, though it may still be listed in the next round
    record.killed = true;
    this.#tell('killed', `clone ${vmid} ${why}: it is ended`, { vmids: [vmid] });
    await this.family.kill(vmid).catch((error) => {
      record.killed = false;
      this.options.log(`clone ${vmid} could not be ended: ${error.message}`);
    });
  }

  #enter(request) {
    if (this.closing) throw new Refused(CLOSING);
    const user = this.policy.enter(this.users.of(request), this.#now());
    this.dashboard.changed();
    return user;
  }

  /** The clone the user goes to; later, when there is none yet. Rejects with Refused when there will be none. */
  #place(user, stream) {
    const clone = this.policy.place(user, this.#now());
    if (clone) return clone;
    if (this.closing) throw new Refused(CLOSING);
    if (this.held.size >= this.options.maxHeld) throw new Refused(`${this.held.size} requests are waiting for a clone already`);
    return new Promise((resolve, reject) => {
      const done = (settle) => (value) => {
        clearTimeout(timer);
        stream.removeListener('close', left);
        this.held.delete(stream);
        settle(value);
      };
      const refuse = done(reject);
      const limit = this.options.holdTimeout;
      const timer = setTimeout(() => refuse(new Refused(`no clone came within ${limit} ms`)), limit);
      const left = () => refuse(new Refused('the client has gone'));
      stream.once('close', left);
      this.held.set(stream, { user, go: done(resolve), refuse });
    });
  }

  /** After a round the held requests go where they can; with a failure and no clone at all they are refused. */
  #settle(failure) {
    for (const { user, go, refuse } of [...this.held.values()]) {
      try {
        const clone = this.policy.place(user, this.#now(), true);
        if (clone) go(clone);
        else if (failure) refuse(new Refused(`no clone could be made: ${failure}`));
      } catch (error) {
        refuse(error);
      }
    }
  }

  async #lost() {
    try {
      await this.#refresh();
    } catch (error) {
      throw new Refused(toUsers(error));
    }
  }

  #answered(clone) {
    const record = this.records.get(clone.vmid);
    if (!record || record.firstAnswer !== null) return;
    record.firstAnswer = Math.round(this.#now() - this.dashboard.started - record.at);
  }

  #me(request) {
    const { id, given } = this.users.of(request);
    const user = this.policy.find(given ?? id);
    const clone = user && this.policy.clones.get(user.vmid);
    const family = { clones: this.policy.clones.size, users: this.policy.active };
    return clone ? { vmid: clone.vmid, ip: clone.ip, here: clone.users, ...family } : { vmid: null, ip: null, here: 0, ...family };
  }

  #request(request, response) {
    if (this.family.isClone()) return cloneSide.answer(request, response, this.family.token);
    if (Dashboard.owns(request.url)) return this.dashboard.handle(request, response);
    this.proxy.handle(request, response).catch((error) => this.#broken(error, response));
  }

  #upgrade(request, socket, head) {
    if (this.family.isClone()) return socket.destroy();
    this.proxy.upgrade(this.front.server, request, socket, head).catch((error) => this.#broken(error, socket));
  }

  /** A defect of ours costs this one client its connection, nobody else anything. */
  #broken(error, stream) {
    this.options.log(`a request failed: ${error.stack ?? error}`);
    stream.destroy();
  }

  async #close() {
    await this.ready.catch(() => {});
    for (const { refuse } of [...this.held.values()]) refuse(new Refused(CLOSING));
    this.dashboard.close();
    await this.front.end(this.options.endLimit, this.options.log, this.signalled ? '; a second signal ends the wait' : '');
    if (this.family.isClone()) return; // made in the meantime: its master ends it
    for (const signal of SIGNALS) process.removeListener(signal, this.onSignal);
    this.#noMoreRounds();
    await this.round; // a cloning that is under way ends first
    await this.family.endAll().catch((error) => this.options.log(`the clones could not be ended: ${error.message}`));
    this.proxy.close();
  }

  /** Ctrl-C or SIGTERM: the family ends, then the signal does what it would have done. A second time: at once. */
  async #signal(signal) {
    const again = this.signalled;
    this.signalled = true;
    if (this.family.isClone()) return cloneSide.stop(again ? 0 : this.options.endLimit);
    if (this.closing) this.cutOff();
    if (again) return;
    await this.close();
    if (!this.family.isClone() && !process.listenerCount(signal)) process.kill(process.pid, signal);
  }

  #tell(kind, text, more) {
    this.options.log(text);
    this.dashboard.note(kind, text);
    try {
      this.options.onScale({ kind, users: this.policy.active, clones: this.policy.clones.size, ...more });
    } catch (error) {
      this.options.log(`onScale failed: ${error.stack ?? error}`);
    }
  }

  #now() { return this.options.clock(); }
}

module.exports = { Autoscaler };
