#include "core/hypervisors/fake/fake.hpp"

#include <gridcentric/gc-guest.h>
#include <unistd.h>

#include <cstring>
#include <gridcentric/drivers.hpp>
#include <utility>

#include "core/hypervisors/address_text.hpp"
#include "core/hypervisors/process_facts.hpp"

namespace gridcentric {

Fake::Fake(Loop &loop, std::uint32_t address_base) : loop_(loop), address_base_(address_base) {}

Fake::~Fake() {
  for (const auto &[domain, master] : masters_) {
    loop_.unwatch(master.pidfd);
    close(master.pidfd);
  }
}

std::string Fake::adopt(DomainKey domain, const Peer &peer, std::string *error) {
  const int pidfd = open_pidfd(peer.pid);
  if (pidfd < 0) {
    *error = "process " + std::to_string(peer.pid) + " can't be watched: " + std::strerror(errno);
    return "";
  }
  masters_[domain] = {peer.pid, pidfd};
  by_pid_[peer.pid] = domain;
  loop_.watch(pidfd, [this, domain] { end_as(domain, EndKind::lost, 0); });
  give_address(domain);
  return address_of(domain);
}

void Fake::clone(CloneRequest request, std::function<void(CloneResult)> done) {
  Cloning cloning{std::move(request), std::move(done), "", 0};
  const auto count = static_cast<std::int64_t>(cloning.request.clones.size());
  for (const DomainKey clone : cloning.request.clones) give_address(clone);
  if (!failures_.empty()) {
    const Failure failure = std::move(failures_.front());
    failures_.pop_front();
    if (failure.at == 0) {
      cloning.failure = failure.reason;
    } else if (failure.at <= count) {
      cloning.failure =
          "clone " + std::to_string(failure.at) + " of " + std::to_string(count) + ": " + failure.reason;
    }
  } else if (!deaths_.empty()) {
    if (deaths_.front() <= count) cloning.dies = deaths_.front();
    deaths_.pop_front();
  }
  const std::uint64_t id = ++last_cloning_;
  clonings_.emplace(id, std::move(cloning));
  if (latency_ms_ == 0) {
    loop_.post([this, id] { finish(id); });
  } else {
    loop_.call_at(loop_.now_ms() + latency_ms_, [this, id] { finish(id); });
  }
}

void Fake::finish(std::uint64_t id) {
  auto found = clonings_.extract(id);
  if (found.empty()) return;  // taken back meanwhile
  Cloning cloning = std::move(found.mapped());
  if (!cloning.failure.empty()) return fail(cloning, cloning.failure);
  cloning.done({true, 0, ""});
  if (cloning.dies > 0)
    end_as(cloning.request.clones[static_cast<std::size_t>(cloning.dies - 1)], EndKind::lost, 0);
}

void Fake::fail(const Cloning &cloning, std::string reason) {
  for (const DomainKey clone : cloning.request.clones) addresses_.erase(clone);
  cloning.done({false, GC_E_CLONE_FAILED, std::move(reason)});
}

void Fake::cancel_clone(DomainKey parent) {
  for (auto &[id, cloning] : clonings_) {
    if (cloning.request.parent != parent) continue;
    cloning.failure = "it was taken back";
    loop_.post([this, id = id] { finish(id); });
    return;
  }
}

void Fake::end_as(DomainKey domain, EndKind how, int status) {
  if (addresses_.erase(domain) == 0) return;
  if (const auto master = masters_.extract(domain); !master.empty()) {
    loop_.unwatch(master.mapped().pidfd);
    close(master.mapped().pidfd);
    by_pid_.erase(master.mapped().pid);
  }
  loop_.post([this, domain, how, status] { listener_->ended(domain, how, status); });
}

std::string Fake::address_of(DomainKey domain) const {
  const auto found = addresses_.find(domain);
  return found == addresses_.end() ? "" : address_text(found->second);
}

int Fake::pid_of(DomainKey domain) const {
  const auto found = masters_.find(domain);
  return found == masters_.end() ? -1 : found->second.pid;
}

DomainKey Fake::domain_of(int pid) const {
  for (; pid > 0; pid = parent_of(pid))
    if (const auto found = by_pid_.find(pid); found != by_pid_.end()) return found->second;
  return 0;
}

void Fake::restart() {
  for (const auto &[domain, master] : masters_) {
    loop_.unwatch(master.pidfd);
    close(master.pidfd);
  }
  masters_.clear();
  by_pid_.clear();
  addresses_.clear();
  clonings_.clear();
  latency_ms_ = 0;
  failures_.clear();
  deaths_.clear();
}

void Fake::reset() {
  restart();
  addresses_given_ = 0;
}

extern const Driver fake_driver;
const Driver fake_driver = {
    .name = "fake",
    .scripted = true,
    .make = [](Loop &loop, const DriverSettings &settings) -> std::unique_ptr<Hypervisor> {
      return std::make_unique<Fake>(loop, settings.address_base);
    },
};

}  // namespace gridcentric
