// The process hypervisor, the host's side of it: a domain is a Linux process with all its threads. A process
// clones itself when it is ordered to (docs/protocol.md, "Cloning"; core/live_clone does it); this driver
// numbers the clones' addresses, keeps a pidfd of each domain, notices its end and can bring it about.
#pragma once
#include <gridcentric/hypervisor.hpp>
#include <unordered_map>
#include <vector>

#include "core/hypervisors/process/addresses.hpp"
#include "core/hypervisors/process/refusers.hpp"

namespace gridcentric {

class Process final : public Hypervisor {
 public:
  explicit Process(Loop &loop) : loop_(loop), refusers_(loop) {}
  ~Process() override;  // ends the clones that are left; masters are not its own

  std::string_view name() const override { return "process"; }
  Capabilities capabilities() const override;
  void set_listener(Listener *listener) override { listener_ = listener; }
  int descriptors_a_clone() const override { return 3; }  // pidfds of it and of its gc-reaper, a refuser
  std::string adopt(DomainKey domain, const Peer &peer, std::string *error) override;
  void clone(CloneRequest request, std::function<void(CloneResult)> done) override;
  void cancel_clone(DomainKey parent) override;
  void end(DomainKey domain) override;
  void joined(DomainKey domain) override;
  std::string address_of(DomainKey domain) const override;
  int pid_of(DomainKey domain) const override;
  DomainKey domain_of(int pid) const override;

 private:
  struct Tracked {
    OwnedFd pidfd;         // of the master, or of the clone's gc-reaper, whose end is its end
    int watched_pid = -1;  // the process of pidfd
    int pid = -1;          // the domain's own process; -1: not known
    // A clone's own process. It ends before its gc-reaper, which stays while clones of the clone are in its namespace.
    OwnedFd process;
    std::vector<DomainKey> above;  // the domains it descends from
    std::uint32_t address = 0;     // 0: a master, which stays where it is
    std::string mode;              // how it clones itself
    std::uint64_t grace = 0;       // timer: it has joined and should be gone by then
  };
  struct Cloning {
    CloneRequest request;
    std::function<void(CloneResult)> done;
    std::vector<std::uint32_t> addresses;
    std::string mode;
    std::vector<OwnedFd> pidfds;
    std::vector<BoundPort> ports;
  };

  struct Buried {
    OwnedFd pidfd;
    std::uint32_t address;
  };

  void answered(DomainKey parent, clone_answer::Held held);
  void answered(DomainKey parent, const clone_answer::Bound &bound);
  void answered(DomainKey parent, const clone_answer::Forked &forked);
  void answered(DomainKey parent, const clone_answer::Failed &failed);
  // Nothing of it is left but what is being killed.
  void give_up(DomainKey parent, int error, std::string reason);
  DomainKey family_of(DomainKey domain) const;  // its master
  bool has_family(DomainKey family) const;      // is somebody of it left?
  bool may_be_clone(int pid) const;             // what a guest hands over as one
  // Kill it; its address is free when it has gone.
  void bury(OwnedFd pidfd, std::uint32_t address);
  void has_ended(DomainKey domain);
  void process_has_ended(DomainKey domain);
  void watch(DomainKey domain);
  void forget(OwnedFd *pidfd);
  // The address is free when the process has gone.
  void free_with(OwnedFd pidfd, std::uint32_t address);

  Loop &loop_;
  Listener *listener_ = nullptr;
  Addresses addresses_;
  Refusers refusers_;
  std::unordered_map<DomainKey, Tracked> domains_;
  std::unordered_map<int, DomainKey> by_pid_;        // masters, and gc-reapers of clones
  std::unordered_map<DomainKey, Cloning> clonings_;  // by parent
  std::unordered_map<int, Buried> buried_;           // by pidfd
};

}  // namespace gridcentric
