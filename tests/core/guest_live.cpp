// The clone path with the real engine and a private host of the process hypervisor: hooks, calls that are open while the
// domain clones, clones of clones, refusals. Prints what failed; exit code 0: nothing did. A clone reports its failures.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "core/guest/client.hpp"

using namespace gridcentric;

namespace {

std::string failures;

#define CHECK(condition)                                                                              \
  do {                                                                                                \
    if (!(condition))                                                                                 \
      failures.append(std::string(__func__) + ":" + std::to_string(__LINE__) + ": " #condition "\n"); \
  } while (0)

std::string hooks;  // the folder of GRIDCENTRIC_HOOKS

void write_hook(const std::string &name, const std::string &body) {
  std::ofstream(hooks + "/" + name) << "#!/bin/sh\n" << body << "\n";
  ::chmod((hooks + "/" + name).c_str(), 0755);
}

void remove_hook(const std::string &name) { ::unlink((hooks + "/" + name).c_str()); }

guest::Error error_of(const std::function<void()> &call) {
  try {
    call();
  } catch (const guest::Error &error) {
    return error;
  }
  return guest::Error(GC_OK, "");
}

[[noreturn]] void report_and_end() { guest::join(failures); }

// All clones must have joined without a failure; adds their failures to ours.
void check_results(const std::string &ticket, std::size_t count) {
  const auto results = guest::wait(ticket, -1);
  CHECK(results.size() == count);
  for (const auto &result : results) {
    CHECK(result.how == GC_END_JOINED);
    failures.append(result.report.value_or("no report\n"));
  }
}

void hooks_run_around_a_clone() {
  write_hook("pre-clone", "echo pre $GC_VMID $GC_ROLE >> " + hooks + "/said");
  write_hook("post-clone", "echo post $GC_VMID $GC_ROLE $GC_IP >> " + hooks + "/said");
  const std::string ticket = guest::request_ticket(2, 2, 1, 0);
  if (guest::clone(ticket) > 0) report_and_end();
  check_results(ticket, 2);
  std::ifstream file(hooks + "/said");
  const std::string said{std::istreambuf_iterator<char>(file), {}};
  CHECK(said.starts_with("pre 0 master\n"));
  CHECK(said.find("post 0 master " + guest::my_ip() + "\n") != std::string::npos);
  for (const auto &result : guest::wait(ticket, 0)) {
    CHECK(said.find("post " + std::to_string(result.vmid) + " clone 127.77.") != std::string::npos);
  }
  remove_hook("said");
}

void a_failing_hook_is_heard() {
  const std::string ticket = guest::request_ticket(2, 2, 1, 0);
  write_hook("pre-clone", "exit 3");
  const auto error = error_of([&] { guest::clone(ticket); });
  CHECK(error.code == GC_E_CLONE_FAILED);
  CHECK(error.text.find(hooks + "/pre-clone") != std::string::npos);
  CHECK(guest::ticket_info(ticket).status == GC_TICKET_RESERVED);
  remove_hook("pre-clone");

  write_hook("post-clone", "[ $GC_ROLE = master ] || exit 5");
  if (guest::clone(ticket) > 0) report_and_end();  // not reached in a clone
  for (const auto &result : guest::wait(ticket, -1)) {
    CHECK(result.how == GC_END_EXITED);
    CHECK(result.status == 5);
  }
  remove_hook("post-clone");
}

// Other threads wait in calls of each kind; the calls must fail in the clones and go on in the master.
void open_calls_are_interrupted_in_clones_only() {
  const std::string blocker = guest::request_ticket(1, 1, 1, 0);
  const std::string ticket = guest::request_ticket(2, 2, 1, 0);
  std::atomic<int> interrupted{0}, went_on{0};
  guest::Call calls[4];
  std::vector<std::thread> threads;
  // More than is free, so that it waits in line; it is cancelled in the end.
  for (auto &call : calls) {
    threads.emplace_back([&, free = guest::host_info()] {
      int cpus = 1;
      for (const auto &[key, value] : free) {
        if (key == "cpus") cpus = std::atoi(value.c_str());
      }
      const auto error = error_of([&] { guest::request_ticket(cpus, cpus, 1, -1, &call); });
      interrupted += error.code == GC_E_INTERRUPTED_BY_CLONE;
      went_on += error.code == guest::error_cancelled;
    });
  }
  const auto all_wait = [] {
    int pending = 0;
    for (const auto &each : guest::list_tickets()) pending += each.status == GC_TICKET_PENDING;
    return pending == 4;
  };
  while (!all_wait()) std::this_thread::yield();
  int vmid = -1;
  const auto error = error_of([&] { vmid = guest::clone(ticket); });
  if (vmid <= 0) {
    for (auto &call : calls) call.cancel();
  }
  for (auto &thread : threads) thread.join();
  if (vmid < 0) throw error;
  CHECK(interrupted == (vmid > 0 ? 4 : 0));
  CHECK(went_on == (vmid > 0 ? 0 : 4));
  CHECK(guest::vmid() == vmid);
  CHECK(guest::generation() == (vmid > 0 ? 1U : 0U));
  if (vmid > 0) report_and_end();
  check_results(ticket, 2);
  guest::release_ticket(blocker);
}

void clones_clone() {
  const std::string ticket = guest::request_ticket(2, 2, 1, 0);
  const int vmid = guest::clone(ticket);
  if (vmid > 0) {
    const std::string mine = guest::request_ticket(2, 2, 1, 0);
    const std::string ip = guest::my_ip();
    const int second = guest::clone(mine);
    CHECK(guest::vmid() == (second > 0 ? second : vmid));
    CHECK((guest::my_ip() == ip) == (second == 0));
    CHECK(guest::identity().parent == (second > 0 ? vmid : 0));
    CHECK(guest::generation() == (second > 0 ? 2U : 1U));
    if (second == 0) check_results(mine, 2);
    report_and_end();
  }
  check_results(ticket, 2);
}

void children_of_the_domain_are_not_cloned() {
  const std::string ticket = guest::request_ticket(1, 1, 1, 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto error = error_of([&] { guest::clone(ticket); });
    ::_exit(error.code == GC_E_NOT_SUPPORTED && error.text.find("qemu") != std::string::npos ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(guest::ticket_info(ticket).status == GC_TICKET_RESERVED);
  guest::release_ticket(ticket);
}

// Last, because these handlers cannot be removed.
void a_handler_may_refuse_the_copy() {
  static std::atomic<int> refusals{1};
  static std::atomic<int> held{0};
  guest::around_copy(
      [] {
        if (refusals-- > 0) throw std::runtime_error("not now");
        ++held;
      },
      [] { --held; });
  const std::string ticket = guest::request_ticket(1, 1, 1, 0);
  bool thrown = false;
  try {
    guest::clone(ticket);
  } catch (const std::runtime_error &) {
    thrown = true;
  }
  CHECK(thrown);
  CHECK(held == 0);
  while (guest::ticket_info(ticket).status == GC_TICKET_CLONING)
    std::this_thread::yield();  // the host is about to notice
  CHECK(guest::ticket_info(ticket).status == GC_TICKET_RESERVED);
  if (guest::clone(ticket) > 0) {
    CHECK(held == 0);
    report_and_end();
  }
  CHECK(held == 0);
  check_results(ticket, 1);
}

}  // namespace

int main() {
  char folder[] = "/tmp/gridcentric-test-XXXXXX";
  hooks = ::mkdtemp(folder);
  ::setenv("GRIDCENTRIC_HOOKS", hooks.c_str(), 1);
  try {
    hooks_run_around_a_clone();
    a_failing_hook_is_heard();
    remove_hook("pre-clone");
    remove_hook("post-clone");
    ::unsetenv("GRIDCENTRIC_HOOKS");  // a folder without hooks would be refused as a typing error
    open_calls_are_interrupted_in_clones_only();
    clones_clone();
    children_of_the_domain_are_not_cloned();
    a_handler_may_refuse_the_copy();
  } catch (const guest::Error &error) {
    failures.append("vmid " + std::to_string(guest::vmid()) + ": " + error.text + "\n");
    if (!guest::ismaster()) report_and_end();
  }
  ::rmdir(hooks.c_str());
  std::fputs(failures.c_str(), stdout);
  return failures.empty() ? 0 : 1;
}
