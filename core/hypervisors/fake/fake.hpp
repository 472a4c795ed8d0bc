// The fake hypervisor: domains that exist in memory only, with scripted delays and failures
// (docs/protocol.md, "Control"). The same script gives the same history.
#pragma once
#include <cstdint>
#include <deque>
#include <gridcentric/hypervisor.hpp>
#include <map>
#include <unordered_map>

namespace gridcentric {

class Fake final : public Hypervisor, public Script {
 public:
  // Domains take addresses in turn, counting from the one after address_base (host byte order).
  Fake(Loop &loop, std::uint32_t address_base);
  ~Fake() override;

  std::string_view name() const override { return "fake"; }
  Capabilities capabilities() const override { return {}; }
  void set_listener(Listener *listener) override { listener_ = listener; }
  std::string adopt(DomainKey domain, const Peer &peer, std::string *error) override;
  void clone(CloneRequest request, std::function<void(CloneResult)> done) override;
  void cancel_clone(DomainKey parent) override;
  void end(DomainKey domain) override { end_as(domain, EndKind::killed, 9); }
  void joined(DomainKey domain) override { end_as(domain, EndKind::joined, 0); }
  std::string address_of(DomainKey domain) const override;
  int pid_of(DomainKey domain) const override;
  DomainKey domain_of(int pid) const override;

  Script *script() override { return this; }
  void set_latency(std::int64_t ms) override { latency_ms_ = ms; }
  void script_failure(std::int64_t at, std::string reason) override {
    failures_.push_back({at, std::move(reason)});
  }
  void script_death(std::int64_t at) override { deaths_.push_back(at); }
  void end_as(DomainKey domain, EndKind how, int status) override;
  void restart() override;
  void reset() override;

 private:
  struct Failure {
    std::int64_t at;
    std::string reason;
  };
  struct Master {
    int pid;
    int pidfd;
  };
  struct Cloning {
    CloneRequest request;
    std::function<void(CloneResult)> done;
    std::string failure;  // "" when it succeeds
    std::int64_t dies = 0;
  };

  void give_address(DomainKey domain) { addresses_[domain] = address_base_ + ++addresses_given_; }
  void finish(std::uint64_t cloning);
  void fail(const Cloning &cloning, std::string reason);

  Loop &loop_;
  Listener *listener_ = nullptr;
  std::uint32_t address_base_;
  std::uint32_t addresses_given_ = 0;
  std::unordered_map<DomainKey, std::uint32_t> addresses_;  // of the living and those being made
  std::unordered_map<DomainKey, Master> masters_;           // that are processes
  std::unordered_map<int, DomainKey> by_pid_;
  std::uint64_t last_cloning_ = 0;
  std::map<std::uint64_t, Cloning> clonings_;
  std::int64_t latency_ms_ = 0;
  std::deque<Failure> failures_;
  std::deque<std::int64_t> deaths_;
};

}  // namespace gridcentric
