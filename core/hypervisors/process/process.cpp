#include "core/hypervisors/process/process.hpp"

#include <gridcentric/gc-guest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <gridcentric/drivers.hpp>
#include <utility>

#include "core/hypervisors/address_text.hpp"
#include "core/hypervisors/process_facts.hpp"
#include "core/live_clone/live_clone.hpp"

namespace gridcentric {
namespace {

constexpr DriverOption process_run_options[] = {
    {"--private-files", "[=FOLDER,...]",
     "every domain has its own view of these folders (default: the working folder)"}};

constexpr const char *masters_address = "127.0.0.1";
constexpr std::int64_t join_grace_ms = 2'000;

// Ignores one that has ended.
void kill_process(int pidfd) { syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0); }

// How a domain has ended, from the wait status of the process we hold. gc-reaper ends as its clone did, a
// signal as 128 + its number, as shells have it.
std::pair<EndKind, int> how_it_ended(std::optional<int> status, bool clone) {
  if (!status) return {EndKind::lost, 0};
  if (WIFSIGNALED(*status)) return {EndKind::killed, WTERMSIG(*status)};
  const int code = WEXITSTATUS(*status);
  if (clone && code > 128 && code <= 128 + SIGRTMAX) return {EndKind::killed, code - 128};
  return {EndKind::exited, code};
}

Capabilities capabilities_here() {
  Capabilities can;
  const char *forced = std::getenv("GRIDCENTRIC_CLONE_MODE");
  if (forced && *forced) {
    can.mode = forced;
    can.why = "forced by GRIDCENTRIC_CLONE_MODE";
  } else {
    const live_clone::Probe probe = live_clone::probe();
    can.mode = live_clone::mode_name(probe.mode);
    can.why = probe.why;
  }
  return can;
}

}  // namespace

Capabilities Process::capabilities() const { return capabilities_here(); }

Process::~Process() {
  for (auto &[parent, cloning] : clonings_)
    for (const OwnedFd &pidfd : cloning.pidfds) kill_process(pidfd.get());
  for (auto &[key, domain] : domains_) {
    if (domain.address != 0) kill_process(domain.pidfd.get());
    forget(&domain.process);
    forget(&domain.pidfd);
  }
  for (const auto &[pidfd, buried] : buried_) loop_.unwatch(pidfd);
}

// --- domains ---------------------------------------------------------------------------------------------

std::string Process::adopt(DomainKey key, const Peer &peer, std::string *error) {
  OwnedFd pidfd(open_pidfd(peer.pid));
  if (pidfd.get() < 0) {
    *error =
        "process " + std::to_string(peer.pid) + " can't be watched with pidfd_open: " + std::strerror(errno);
    return "";
  }
  Tracked &domain = domains_[key];
  domain.pidfd = std::move(pidfd);
  domain.watched_pid = domain.pid = peer.pid;
  by_pid_[peer.pid] = key;
  watch(key);
  return masters_address;
}

void Process::watch(DomainKey key) {
  const Tracked &domain = domains_.at(key);
  // Asked again: what woke us may have been meant for a descriptor that had this number before.
  loop_.watch(domain.pidfd.get(), [this, key] {
    if (is_gone(domains_.at(key).pidfd.get())) has_ended(key);
  });
  if (domain.process.get() < 0) return;
  loop_.watch(domain.process.get(), [this, key] {
    if (is_gone(domains_.at(key).process.get())) process_has_ended(key);
  });
}

void Process::process_has_ended(DomainKey key) {
  Tracked &domain = domains_.at(key);
  const bool has_clones = std::any_of(domains_.begin(), domains_.end(), [key](const auto &other) {
    const auto &above = other.second.above;
    return std::find(above.begin(), above.end(), key) != above.end();
  });
  if (has_clones) return has_ended(key);
  forget(&domain.process);  // its gc-reaper follows, as soon as what the clone left behind has gone
}

void Process::forget(OwnedFd *pidfd) {
  if (pidfd->get() < 0) return;
  loop_.unwatch(pidfd->get());
  pidfd->reset();
}

void Process::has_ended(DomainKey key) {
  const auto found = domains_.extract(key);
  Tracked &domain = found.mapped();
  const bool gone = is_gone(domain.pidfd.get());  // else its gc-reaper stays for a while
  const auto [how, status] =
      gone ? how_it_ended(wait_status_of(domain.pidfd.get(), domain.watched_pid), domain.address != 0)
           : how_it_ended(wait_status_of(domain.process.get(), domain.pid), false);
  if (domain.grace != 0) loop_.cancel(domain.grace);
  forget(&domain.process);
  if (gone) {
    forget(&domain.pidfd);
    if (domain.address != 0) addresses_.give_back(domain.address);
  } else {
    loop_.unwatch(domain.pidfd.get());
    free_with(std::move(domain.pidfd), domain.address);
  }
  by_pid_.erase(domain.watched_pid);
  const DomainKey family = domain.above.empty() ? key : domain.above.front();
  if (!has_family(family)) refusers_.remove_family(family);
  listener_->ended(key, how, status);
}

void Process::end(DomainKey key) {
  const auto found = domains_.find(key);
  if (found == domains_.end()) return;
  // Its own process where that is known: with its gc-reaper all would end that is in its namespace, its clones, too.
  const Tracked &domain = found->second;
  kill_process(domain.process.get() >= 0 ? domain.process.get() : domain.pidfd.get());
}

void Process::joined(DomainKey key) {
  const auto found = domains_.find(key);
  if (found == domains_.end()) return;
  // A child of the domain that said join (a gc command) leaves the domain itself running.
  found->second.grace = loop_.call_at(loop_.now_ms() + join_grace_ms, [this, key] {
    domains_.at(key).grace = 0;
    end(key);
  });
}

std::string Process::address_of(DomainKey key) const {
  const auto found = domains_.find(key);
  if (found != domains_.end())
    return found->second.address == 0 ? masters_address : address_text(found->second.address);
  for (const auto &[parent, cloning] : clonings_)
    for (std::size_t i = 0; i < cloning.addresses.size(); ++i)
      if (cloning.request.clones[i] == key) return address_text(cloning.addresses[i]);
  return "";
}

int Process::pid_of(DomainKey key) const {
  const auto found = domains_.find(key);
  return found == domains_.end() ? -1 : found->second.pid;
}

DomainKey Process::domain_of(int pid) const {
  for (; pid > 0; pid = parent_of(pid))
    if (const auto found = by_pid_.find(pid); found != by_pid_.end()) return found->second;
  return 0;
}

// --- cloning ---------------------------------------------------------------------------------------------

void Process::clone(CloneRequest request, std::function<void(CloneResult)> done) {
  const DomainKey parent = request.parent;
  const auto refuse = [&](int error, std::string reason) {
    loop_.post([done = std::move(done), error, reason = std::move(reason)] { done({false, error, reason}); });
  };
  const auto found = domains_.find(parent);
  if (found == domains_.end()) return refuse(GC_E_CLONE_FAILED, "the domain has ended");
  const Tracked &domain = found->second;
  if (request.caller->peer().pid != domain.pid)
    return refuse(GC_E_NOT_SUPPORTED,
                  "process " + std::to_string(request.caller->peer().pid) +
                      " is a child of its domain: the process hypervisor clones only a process that calls "
                      "clone itself" +
                      who_can(&Capabilities::whole_machine));
  Cloning cloning;
  cloning.mode = request.caller->mode().empty() ? domain.mode : request.caller->mode();
  if (cloning.mode.empty())
    return refuse(GC_E_CLONE_FAILED,
                  "the guest did not say how it can be cloned: expected mode=pidns or mode=plain in its "
                  "handshake");
  std::string error;
  cloning.addresses = addresses_.take(request.clones.size(), &error);
  if (cloning.addresses.empty()) return refuse(GC_E_CLONE_FAILED, error);
  for (const std::uint32_t address : cloning.addresses) refusers_.remove(address);

  CloneOrder order{cloning.mode, {}};
  for (std::size_t i = 0; i < request.clones.size(); ++i)
    order.clones.push_back({request.vmids[i], address_text(cloning.addresses[i])});
  const std::shared_ptr<Caller> caller = request.caller;
  cloning.request = std::move(request);
  cloning.done = std::move(done);
  clonings_.insert_or_assign(parent, std::move(cloning));
  caller->on_answer([this, parent](CloneAnswer answer) {
    std::visit([&](auto &said) { answered(parent, std::move(said)); }, answer);
  });
  caller->order(order);
}

void Process::answered(DomainKey parent, clone_answer::Held held) {
  Cloning &cloning = clonings_.at(parent);
  for (OwnedFd &pidfd : held.pidfds) cloning.pidfds.push_back(std::move(pidfd));
  if (cloning.pidfds.size() > cloning.request.clones.size())
    give_up(parent, GC_E_CLONE_FAILED,
            std::to_string(cloning.pidfds.size()) + " pidfds for " +
                std::to_string(cloning.request.clones.size()) + " clones, expected one for each");
}

void Process::answered(DomainKey parent, const clone_answer::Failed &failed) {
  give_up(parent, failed.error == EOPNOTSUPP ? GC_E_NOT_SUPPORTED : GC_E_CLONE_FAILED, failed.reason);
}

void Process::answered(DomainKey parent, const clone_answer::Bound &bound) {
  std::vector<BoundPort> &ports = clonings_.at(parent).ports;
  if (ports.size() == most_bound_ports)
    return give_up(parent, GC_E_CLONE_FAILED,
                   "more than " + std::to_string(most_bound_ports) + " bound ports of a clone");
  ports.push_back(bound.port);
}

void Process::answered(DomainKey parent, const clone_answer::Forked &forked) {
  Cloning &cloning = clonings_.at(parent);
  const std::size_t clones = cloning.request.clones.size();
  if (forked.clones != static_cast<std::int64_t>(clones) || cloning.pidfds.size() != clones)
    return give_up(parent, GC_E_CLONE_FAILED,
                   "forked " + std::to_string(forked.clones) + " after " +
                       std::to_string(cloning.pidfds.size()) + " descriptors, expected " +
                       std::to_string(clones) + " of both");
  std::vector<int> reapers;
  for (const OwnedFd &pidfd : cloning.pidfds) {
    const int reaper = pid_of_pidfd(pidfd.get());
    // A gc-reaper is nobody's descendant (the program must not see it end), so that more can't be asked of
    // it.
    if (!may_be_clone(reaper))
      return give_up(
          parent, GC_E_CLONE_FAILED,
          "descriptor " + std::to_string(reapers.size() + 1) +
              " is not the pidfd of a living process outside all domains: has the clone ended already?");
    reapers.push_back(reaper);
  }
  auto taken = clonings_.extract(parent);
  Cloning made = std::move(taken.mapped());
  for (std::size_t i = 0; i < clones; ++i) {
    Tracked &domain = domains_[made.request.clones[i]];
    domain.pidfd = std::move(made.pidfds[i]);
    domain.watched_pid = reapers[i];
    const auto [pid, process] = open_clone_of(reapers[i]);
    domain.pid = pid;
    domain.process = OwnedFd(process);
    domain.above = domains_.at(parent).above;
    domain.above.push_back(parent);
    domain.address = made.addresses[i];
    domain.mode = made.mode;
    by_pid_[reapers[i]] = made.request.clones[i];
    refusers_.place(domain.address, family_of(parent), made.ports);
  }
  domains_.at(parent).mode = made.mode;
  made.done({true, 0, ""});
  // Not before: an end that has come already is told after the clones are known.
  for (const DomainKey clone : made.request.clones) watch(clone);
}

void Process::cancel_clone(DomainKey parent) {
  // The guest ends what it holds at its gate when it hears no ok, or dies and they with it.
  loop_.post([this, parent] {
    if (clonings_.contains(parent)) give_up(parent, GC_E_CLONE_FAILED, "it was taken back");
  });
}

void Process::give_up(DomainKey parent, int error, std::string reason) {
  auto taken = clonings_.extract(parent);
  Cloning cloning = std::move(taken.mapped());
  for (std::size_t i = 0; i < cloning.addresses.size(); ++i) {
    if (i < cloning.pidfds.size()) {
      bury(std::move(cloning.pidfds[i]), cloning.addresses[i]);
    } else {
      addresses_.give_back(cloning.addresses[i]);
    }
  }
  cloning.done({false, error, std::move(reason)});
}

DomainKey Process::family_of(DomainKey key) const {
  const auto &above = domains_.at(key).above;
  return above.empty() ? key : above.front();
}

bool Process::has_family(DomainKey family) const {
  return std::any_of(domains_.begin(), domains_.end(),
                     [&](const auto &domain) { return family_of(domain.first) == family; });
}

bool Process::may_be_clone(int pid) const { return pid > 0 && pid != getpid() && !by_pid_.contains(pid); }

void Process::bury(OwnedFd pidfd, std::uint32_t address) {
  if (!may_be_clone(pid_of_pidfd(pidfd.get()))) return addresses_.give_back(address);
  kill_process(pidfd.get());
  free_with(std::move(pidfd), address);
}

void Process::free_with(OwnedFd pidfd, std::uint32_t address) {
  const int fd = pidfd.get();
  buried_[fd] = {std::move(pidfd), address};
  loop_.watch(fd, [this, fd] {
    loop_.unwatch(fd);
    addresses_.give_back(buried_.extract(fd).mapped().address);
  });
}

extern const Driver process_driver;
const Driver process_driver = {
    .name = "process",
    .is_default = true,
    .clones = "clones the process that calls clone()",
    .run_help =
        "starts a private host (unless GRIDCENTRIC_HOST names one) and executes COMMAND; the exit\n"
        "code is COMMAND's. COMMAND listens for orders ('gc clone --of PID'), whatever it is, if it is "
        "linked\n"
        "dynamically with glibc; with GRIDCENTRIC_SERVE=0 it is left alone. With --private-files the real "
        "folders\n"
        "are not changed: what a domain writes there is its own, in memory, until it ends ('gc diff').",
    .run_options = process_run_options,
    .here = capabilities_here,
    .make = [](Loop &loop, const DriverSettings &) -> std::unique_ptr<Hypervisor> {
      return std::make_unique<Process>(loop);
    },
};

}  // namespace gridcentric
