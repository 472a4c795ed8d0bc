// SPDX-License-Identifier: Apache-2.0
// The driver contract: what the host asks of a hypervisor, and what a hypervisor tells the host.
// A driver knows this file and nothing of tickets, barriers, connections or other drivers.
//
// Threads: the host calls a driver on its loop's thread only. A driver may work elsewhere, but calls back through
// Loop::post(). A driver never blocks the loop.
#pragma once
#include <cstdint>
#include <functional>
#include <gridcentric/cloning.hpp>
#include <gridcentric/domain.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gridcentric {

// What a driver needs of the host's event loop. All but post() on the loop's thread only.
class Loop {
 public:
  virtual ~Loop() = default;
  virtual std::int64_t now_ms() const = 0;  // monotonic; virtual for a scripted driver under --control
  virtual std::uint64_t call_at(std::int64_t when_ms,
                                std::function<void()> work) = 0;  // returns an id for cancel()
  virtual void cancel(std::uint64_t id) = 0;
  // Calls work each time fd is readable, until unwatch(). The fd stays the caller's.
  virtual void watch(int fd, std::function<void()> work) = 0;
  virtual void unwatch(int fd) = 0;
  virtual void post(std::function<void()> work) = 0;  // from any thread
};

// The process behind a connection, as SO_PEERCRED has it in the host's pid namespace.
struct Peer {
  int pid = -1;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

// The call that asked for a cloning. Drivers that need the guest to clone itself (process) talk to it through this;
// others ignore it.
class Caller {
 public:
  virtual ~Caller() = default;
  virtual Peer peer() const = 0;
  virtual std::string mode()
      const = 0;  // how its handshake said it can be cloned: "pidns", "plain"; "": it did not say
  virtual void order(const CloneOrder &order) = 0;
  // The guest's answers to the order. Not called again after the driver's done().
  virtual void on_answer(std::function<void(CloneAnswer)> handler) = 0;
};

// A ticket that a domain asks for. The host has the CPUs for most_vms; a driver may have room for fewer.
struct TicketRequest {
  std::string ticket;
  DomainKey domain = 0;
  std::int64_t least_vms = 1;
  std::int64_t most_vms = 1;
  int cpus_per_vm = 1;
};

struct CloneRequest {
  DomainKey parent;
  std::vector<DomainKey> clones;  // to be made, all or none, in the order of their vmids
  std::vector<int> vmids;         // the same clones
  std::string ticket;             // that they are made on
  int cpus_per_vm = 1;
  std::shared_ptr<Caller> caller;
};

struct CloneResult {
  bool ok = false;
  int error = 0;       // GC_E_CLONE_FAILED or GC_E_NOT_SUPPORTED when not ok
  std::string reason;  // said to the guest as it is
};

// What a driver for tests lets a test do with it (docs/protocol.md, "Control"). The same script gives the same history.
class Script {
 public:
  virtual ~Script() = default;
  virtual void set_latency(std::int64_t ms) = 0;  // of each cloning from now on
  // The next cloning fails at its at-th clone; 0: finds no room at all.
  virtual void script_failure(std::int64_t at, std::string reason) = 0;
  virtual void script_death(std::int64_t at) = 0;  // of the next cloning this one ends (lost) right after
  virtual void end_as(DomainKey domain, EndKind how, int status) = 0;
  virtual void restart() = 0;  // forgets everything but which addresses were given
  virtual void reset() = 0;    // as new
};

struct Capabilities {
  bool clone = true;  // can clone at all
  bool clone_of_clone = true;
  bool whole_machine = false;  // clones every process of the domain (a shell script can clone itself)
  std::string mode;  // how it clones here: "pidns", "plain", "kvm", "tcg"; "" when there is only one way
  std::string why;   // why this mode
};

class Hypervisor {
 public:
  // What a driver tells its host. Called on the loop's thread, never from inside a call into the driver.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void ended(DomainKey domain, EndKind how, int status) = 0;  // once for each domain
    // What reserve() has answered with `later` may be granted now: it is asked for again.
    virtual void room() = 0;
    // A domain that the driver is about to make is the master of a new family. For drivers whose masters can't say hello to
    // the host before they are there (VMs); others have adopt(). name: of its program, UTF-8 of at most 64 bytes.
    virtual NewFamily new_family(const std::string &name, OnExit on_exit) = 0;
    // That master is about to end normally.
    virtual void bye(DomainKey master) = 0;
  };

  virtual ~Hypervisor() = default;
  virtual std::string_view name() const = 0;
  virtual Capabilities capabilities() const = 0;
  virtual Script *script() { return nullptr; }  // nullptr: this driver is for real
  virtual void set_listener(Listener *listener) = 0;
  // How many descriptors of the host's process the driver keeps open for each clone; 0: none worth counting. The host promises
  // no more clones than it has descriptors for, these and its connections.
  virtual int descriptors_a_clone() const { return 0; }

  // A program said hello and becomes the master of a new family: watch it, give it an address (numeric).
  // "" and *error set if that fails.
  virtual std::string adopt(DomainKey domain, const Peer &peer, std::string *error) = 0;

  // Can a ticket be granted? Asked before it is, one at a time and in the order of the line, which waits for the answer: that
  // comes once, at once or later. Of VMs that are granted, least_vms to most_vms, the driver is sure that it can make them.
  // Answered with `later` it is asked again after room(), and each time a ticket is released. A driver that counts nothing
  // grants all.
  virtual void reserve(TicketRequest request, std::function<void(Reservation)> answer) {
    answer(Reservation::granted(request.most_vms));
  }
  // The ticket is over: never used and given back, or all its clones have ended. Once for each that was granted. Also of one
  // that is not answered yet, or was answered with `later`: its asker has gone, and a further answer is ignored.
  virtual void release(const std::string & /*ticket*/) {}

  // Make the clones, all or none; calls done exactly once, later, never from inside clone(). After !ok nothing of them is left.
  virtual void clone(CloneRequest request, std::function<void(CloneResult)> done) = 0;
  // The asker is gone: undo what was begun; done is still called (with !ok) when nothing is left.
  virtual void cancel_clone(DomainKey parent) = 0;

  // A hint: the unused tickets that the domain holds are for this many clones in total; given whenever that changes, also when the
  // domain has ended. A driver may prepare for them, must not fail for it, and gives up what it has prepared when the number
  // falls. It falls with each clone() too, which comes first: what is prepared then is for that.
  virtual void expect(DomainKey /*domain*/, int /*clones*/) {}

  // End a domain; ended() follows when it is gone. Unknown or ended keys are ignored.
  virtual void end(DomainKey domain) = 0;
  // The domain said join and ends by itself now; the driver makes sure that it does (a shell script's join does not end its
  // domain: the driver does). ended() follows.
  virtual void joined(DomainKey domain) = 0;

  virtual std::string address_of(DomainKey domain) const = 0;  // "" unknown
  virtual int pid_of(DomainKey domain) const = 0;              // -1: no process of this host
  // Which living domain does a process belong to: itself or its nearest ancestor. 0: none.
  virtual DomainKey domain_of(int pid) const = 0;
};

}  // namespace gridcentric
