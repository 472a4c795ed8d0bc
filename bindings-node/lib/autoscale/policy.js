'use strict';
// The rules of scaling, pure: who the users are, which clone each goes to, how many clones are missing, which may go.
// No sockets, no timers, no guest library: time and random numbers are passed in. gridcentric/autoscale/policy.py is its twin;
// tests/autoscale/cases drive both.

const { randomBytes } = require('node:crypto');

// How long, and how many, strangers (users that have not yet returned their cookie) are remembered, so that they find the same
// clone. Probes, scripts and webhooks stay strangers.
const STRANGER_MS = 60000;
const MAX_STRANGERS = 10000;
// How long an absent user's clone is remembered, so that a returning user finds the same one.
const AFFINITY_MS = 3600000;
// More users than this are refused, to bound their memory.
const MAX_USERS = 100000;

/** A user cannot be placed. The user sees the message. */
class Refused extends Error {}

/** A user's id, as carried by the cookie: unguessable, so that nobody can take another's place. */
const newId = () => randomBytes(16).toString('hex');
const isId = (text) => /^[0-9a-f]{32}$/.test(text);

const strategies = {
  latest: (clones) => clones.reduce((a, b) => (b.vmid > a.vmid ? b : a)),
  'least-loaded': (clones) => clones.reduce((a, b) => (b.users < a.users ? b : a)),
  'round-robin': (clones, policy) => {
    const next = clones.find((clone) => clone.vmid > policy.lastPlaced) ?? clones[0];
    policy.lastPlaced = next.vmid;
    return next;
  },
  random: (clones, policy) => clones[Math.floor(policy.random() * clones.length)],
};

class Policy {
  /** @param options usersPerClone, minClones, maxClones, strategy, cooldown, drain, userTimeout, random */
  constructor(options) {
    this.options = options;
    this.random = options.random;
    this.users = new Map(); // id -> { id, vmid | null, open, seen, active, confirmed }
    this.strangers = new Map(); // the same, for users not yet confirmed; oldest first
    this.clones = new Map(); // vmid -> { vmid, ip, users, emptySince, draining }; ordered by vmid
    this.active = 0;
    this.lastPlaced = 0;
    this.lastScaled = -Infinity;
  }

  /**
   * A user's request begins. id: the contents of its cookie, if any; an unknown id makes a stranger. given: the user's name, if
   * it is identified by something other than a cookie.
   * @throws {Refused} if there are too many users
   */
  enter({ id, given }, now) {
    let user = this.users.get(given ?? id);
    if (!user) {
      const known = this.strangers.get(id);
      user = known ?? { id: given ?? newId(), vmid: null, open: 0, seen: now, active: false, confirmed: false };
      if (known || given !== undefined) this.#confirm(user);
      else this.#remember(user);
    }
    if (!user.active) {
      user.active = true;
      this.active++;
      this.#occupy(user, 1, now);
    }
    user.open++;
    user.seen = now;
    return user;
  }

  /** The request has ended; a stranger is then no longer active. */
  exit(user, now) {
    user.open--;
    user.seen = now;
    if (!user.open && !user.confirmed) this.#leave(user, now);
  }

  /** Users without an open request for a while are no longer active; long-absent ones are forgotten. */
  expire(now) {
    for (const user of this.users.values()) {
      if (user.open) continue;
      const absent = now - user.seen;
      if (absent >= this.options.userTimeout) this.#leave(user, now);
      if (!user.active && absent >= AFFINITY_MS) this.users.delete(user.id);
    }
    for (const user of this.strangers.values()) {
      if (!user.open && now - user.seen >= STRANGER_MS) this.strangers.delete(user.id);
    }
  }

  /** The user with this id in its cookie; undefined if unknown. */
  find(id) { return this.users.get(id) ?? this.strangers.get(id); }

  /** Takes the living clones, as the host lists them. Returns the vmids that are new and those that have ended. */
  observe(domains, now) {
    const living = new Map(domains.map((domain) => [domain.vmid, domain]));
    const lost = [...this.clones.keys()].filter((vmid) => !living.has(vmid));
    for (const vmid of lost) this.clones.delete(vmid);
    const added = [...living.keys()].filter((vmid) => !this.clones.has(vmid)).sort((a, b) => a - b);
    for (const vmid of added) {
      this.clones.set(vmid, { vmid, ip: living.get(vmid).ip, users: 0, emptySince: now, draining: false });
    }
    // Its users go elsewhere with their next request.
    if (lost.length) {
      for (const users of [this.users, this.strangers]) for (const user of users.values()) if (lost.includes(user.vmid)) user.vmid = null;
    }
    return { added, lost };
  }

  /**
   * The clone that a user goes to. A user stays where it is; a new one goes to a clone with room, chosen by the strategy. If there
   * is none but one may still come, returns null (hold the request); if none can come, a clone with the fewest users.
   * @param final: no clone will come now, because the last attempt to scale has ended
   */
  place(user, now, final = false) {
    const here = this.clones.get(user.vmid);
    if (here && !here.draining) return here;
    const open = [...this.clones.values()].filter((clone) => !clone.draining);
    let candidates = open.filter((clone) => clone.users < this.options.usersPerClone);
    if (!candidates.length) {
      if (!open.length || (!final && this.#canGrow(now))) return null;
      const least = Math.min(...open.map((clone) => clone.users));
      candidates = open.filter((clone) => clone.users === least);
    }
    const clone = this.#choose(candidates, user);
    user.vmid = clone.vmid;
    if (user.active) this.#occupy(user, 1, now);
    return clone;
  }

  /** What to do now: how many clones to request, which ones to drain. */
  plan(now) {
    const { usersPerClone, minClones, maxClones, cooldown, drain } = this.options;
    if (now - this.lastScaled < cooldown) return { request: 0, drain: [] };
    const open = [...this.clones.values()].filter((clone) => !clone.draining);
    const target = Math.min(maxClones, Math.max(minClones, Math.ceil(this.active / usersPerClone)));
    // Clones on their way out still count against maxClones.
    const request = Math.max(0, Math.min(target - open.length, maxClones - this.clones.size));
    const idle = drain === false ? [] : open.filter((clone) => !clone.users && now - clone.emptySince >= drain);
    const draining = idle.slice(0, Math.max(0, open.length - target));
    for (const clone of draining) clone.draining = true;
    if (request || draining.length) this.lastScaled = now;
    return { request, drain: draining.map((clone) => clone.vmid) };
  }

  #confirm(user) {
    if (this.users.size >= MAX_USERS) throw new Refused(`more than ${MAX_USERS} users`);
    this.strangers.delete(user.id);
    user.confirmed = true;
    this.users.set(user.id, user);
  }

  #remember(user) {
    if (this.strangers.size >= MAX_STRANGERS) {
      for (const old of this.strangers.values()) {
        if (old.open) continue;
        this.strangers.delete(old.id);
        break;
      }
    }
    this.strangers.set(user.id, user);
  }

  #leave(user, now) {
    if (!user.active) return;
    user.active = false;
    this.active--;
    this.#occupy(user, -1, now);
  }

  #canGrow(now) {
    return this.clones.size < this.options.maxClones && now - this.lastScaled >= this.options.cooldown;
  }

  #choose(candidates, user) {
    const { strategy } = this.options;
    if (typeof strategy !== 'function') return strategies[strategy](candidates, this);
    let answer;
    try {
      answer = strategy(candidates.map(({ vmid, ip, users }) => ({ vmid, ip, users })), user.id);
    } catch (error) {
      throw new Refused(`the strategy function failed: ${error?.message ?? error}`);
    }
    const chosen = candidates.find((clone) => clone.vmid === (answer?.vmid ?? answer));
    if (!chosen) {
      const vmids = candidates.map((clone) => clone.vmid).join(', ');
      throw new Refused(`the strategy function chose ${JSON.stringify(answer)}, expected one of the clones ${vmids}`);
    }
    return chosen;
  }

  #occupy(user, change, now) {
    const clone = this.clones.get(user.vmid);
    if (!clone) return;
    clone.users += change;
    if (!clone.users) clone.emptySince = now;
  }
}

module.exports = { Policy, Refused, isId };
