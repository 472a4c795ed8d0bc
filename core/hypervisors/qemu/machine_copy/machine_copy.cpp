// Loaded by LD_PRELOAD into a QEMU that translates its guest (TCG): lets the qemu hypervisor copy the running VM with the
// live clone engine, so that copies share the guest's memory and the translated code, copy-on-write. Knows poll and the
// descriptors that it is given; knows nothing about QEMU's internals, guests or the contents of the channel.
//
// GRIDCENTRIC_MACHINE_COPY is "REAPER SERVER MEMORY COMMAND LIFELINE TAP FD FD ..." (two paths, then numbers): the path of
// gc-reaper; the Unix socket from which a copy gets its own descriptors; the size of the guest's memory in bytes; and the
// numbers of these descriptors: for commands, the lifeline of its reaper, its network card's tap, then all others.
//
//   COMMAND -> driver  "ready"          as soon as it is loaded
//   driver -> COMMAND  "copy TOKEN N"   the VM is stopped, and nothing is in flight on its sockets
//   COMMAND -> driver  "pidfds N" with them (the reapers'), as often as needed, then "ok PAUSE_MS"; or "failed ERRNO TEXT"
//   copy -> SERVER     "TOKEN K"           K: 1..N. The answer is one message with all its descriptors
//
// The thread that runs QEMU's main loop makes the copies, from within ppoll(2), where it holds no locks. Any other thread of a
// copy that returns from waiting for descriptors is held until the copy has its own.
#include <fcntl.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "core/live_clone/live_clone.hpp"
#include "core/live_clone/sys.hpp"

namespace gridcentric::machine_copy {
namespace {

using live_clone::futex_wait;
using live_clone::futex_wake;

constexpr std::size_t most_descriptors = 250;  // of one message (unix(7), SCM_RIGHTS)
constexpr std::size_t most_polled = 512;       // QEMU's main loop waits for a few dozen
constexpr uint32_t loopback = 0x7f000001;  // for listening sockets, of which a QEMU started by us has none

struct Settings {
  live_clone::Mode mode = live_clone::Mode::plain;
  std::string reaper, server;
  std::size_t memory = 0;  ///< size of the guest's RAM in bytes
  int command = -1, lifeline = -1, tap = -1;
  std::vector<int> numbers;  ///< of the descriptors that are replaced in a copy, in the order of arrival
};
Settings settings;
std::atomic<bool> watching;  ///< the driver may still send commands

// The gate, closed only while copying. By the round, a thread that returns from the kernel sees that it was closed meanwhile.
std::atomic<int> closed;
std::atomic<unsigned> rounds;

void wait_at_gate() {
  while (closed) futex_wait(closed, 1);
}

void open_gate() {
  closed = 0;
  futex_wake(closed);
}

// The settings that QEMU has made on its network card's tap, as the kernel does not let us read them back.
struct TapSetting {
  unsigned long request;
  bool by_value, set;
  int value;
};
TapSetting tap_settings[] = {{TUNSETOFFLOAD, true, false, 0},
                             {TUNSETVNETHDRSZ, false, false, 0},
                             {TUNSETVNETLE, false, false, 0},
                             {TUNSETVNETBE, false, false, 0}};

void remember(unsigned long request, void *argument) {
  for (TapSetting &s : tap_settings) {
    if (s.request != request) continue;
    s.set = true;
    s.value = s.by_value ? static_cast<int>(reinterpret_cast<long>(argument)) : *static_cast<int *>(argument);
  }
}

void tell_again(int tap) {
  for (TapSetting &s : tap_settings)
    if (s.set)
      syscall(SYS_ioctl, tap, s.request,
              s.by_value ? static_cast<long>(s.value) : reinterpret_cast<long>(&s.value));
}

void say(const std::string &text, const int *fds = nullptr, std::size_t count = 0) {
  iovec part{const_cast<char *>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * most_descriptors)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * count);
    std::memcpy(CMSG_DATA(head), fds, sizeof(int) * count);
  }
  while (sendmsg(settings.command, &message, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

// ---- in a copy

// The copy has no connection to the driver, so it must not go on.
[[noreturn]] void give_up(const char *what) {
  std::fprintf(stderr, "gridcentric: a copy of a VM could not get its own descriptors: %s: %s\n", what,
               std::strerror(errno));
  std::_Exit(125);
}

void take_descriptors(const std::string &token, int index, const std::vector<int> &flags) {
  const int server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, settings.server.c_str(), sizeof address.sun_path - 1);
  if (server < 0 || connect(server, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0)
    give_up(settings.server.c_str());
  const std::string who = token + " " + std::to_string(index);
  if (send(server, who.data(), who.size(), MSG_NOSIGNAL) < 0) give_up("sending its token");
  char text[16];
  iovec part{text, sizeof text};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * most_descriptors)];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  while ((n = recvmsg(server, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  const cmsghdr *head = n > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (head == nullptr || head->cmsg_len != CMSG_LEN(sizeof(int) * settings.numbers.size()))
    give_up("receiving the answer");
  close(server);
  std::vector<int> fresh(settings.numbers.size());
  std::memcpy(fresh.data(), CMSG_DATA(head), sizeof(int) * fresh.size());
  // Move them out of the way of their final numbers.
  const int beyond = *std::max_element(settings.numbers.begin(), settings.numbers.end()) + 1;
  for (int &fd : fresh) {
    const int here = fd;
    if ((fd = fcntl(here, F_DUPFD_CLOEXEC, beyond)) < 0) give_up("F_DUPFD");
    close(here);
  }
  for (std::size_t i = 0; i < fresh.size(); i++) {
    if (flags[i] >= 0) fcntl(fresh[i], F_SETFL, flags[i]);
    if (dup3(fresh[i], settings.numbers[i], O_CLOEXEC) < 0) give_up("dup3");
    close(fresh[i]);
  }
  tell_again(settings.tap);
}

// ---- in the VM that is copied

void copy(const std::string &token, std::size_t count) {
  live_clone::Order order;
  order.mode = settings.mode;
  order.addresses.assign(count, loopback);
  order.reaper_path = settings.reaper;
  order.lifeline = settings.lifeline;
  order.no_locks_from = settings.memory;
  order.private_descriptors = settings.numbers;
  // O_NONBLOCK belongs to the open file, and QEMU has set it on the old one.
  std::vector<int> flags;
  for (const int number : settings.numbers) flags.push_back(fcntl(number, F_GETFL));
  closed = 1;
  rounds++;
  live_clone::Outcome outcome = live_clone::clone(order);
  if (outcome.index < 0 && outcome.err == ENOSPC && settings.mode == live_clone::Mode::pidns) {
    // A copy's namespace is inside its parent's, and they nest at most 32 deep (pid_namespaces(7)): slower from here on.
    order.mode = settings.mode = live_clone::Mode::plain;
    outcome = live_clone::clone(order);
  }
  if (outcome.index > 0) {
    take_descriptors(token, outcome.index, flags);
    open_gate();
    return;
  }
  open_gate();
  if (outcome.index < 0) {
    std::string reason = outcome.message;
    for (char &c : reason)
      if (c == '\n') c = ' ';
    return say("failed " + std::to_string(outcome.err) + " " + reason);
  }
  live_clone::commit();  // the copies stand still until the driver lets them go on
  for (std::size_t at = 0; at < outcome.pidfds.size(); at += most_descriptors) {
    const std::size_t n = std::min(most_descriptors, outcome.pidfds.size() - at);
    say("pidfds " + std::to_string(n), outcome.pidfds.data() + at, n);
  }
  for (const int pidfd : outcome.pidfds) close(pidfd);
  say("ok " + std::to_string(outcome.times.pause_ms));
}

void serve() {
  char text[256];
  const ssize_t n = recv(settings.command, text, sizeof text, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    watching = false;  // the driver is gone, and this VM is about to follow
    return;
  }
  std::istringstream words(std::string(text, static_cast<std::size_t>(n)));
  std::string verb, token;
  std::size_t count = 0;
  words >> verb >> token >> count;
  if (!words || verb != "copy")
    return say("failed " + std::to_string(EINVAL) + " malformed command, expected copy TOKEN N");
  copy(token, count);
}

int wait_for(pollfd *fds, nfds_t count, const timespec *limit, const sigset_t *mask) {
  timespec left{};
  if (limit != nullptr) left = *limit;  // the kernel writes to it
  return static_cast<int>(
      syscall(SYS_ppoll, fds, count, limit == nullptr ? nullptr : &left, mask, mask == nullptr ? 0 : 8));
}

int forget(pollfd *fds, nfds_t count) {
  for (nfds_t i = 0; i < count; i++) fds[i].revents = 0;
  return 0;
}

int watched_poll(pollfd *fds, nfds_t count, const timespec *limit, const sigset_t *mask) {
  const bool leader = syscall(SYS_gettid) == getpid();
  if (!leader || !watching || count >= most_polled) {
    wait_at_gate();
    const unsigned before = rounds;
    const int result = wait_for(fds, count, limit, mask);
    if (rounds == before) return result;
    wait_at_gate();
    return forget(fds, count);  // what it saw may be gone: let the caller poll again
  }
  pollfd all[most_polled];
  std::memcpy(all, fds, count * sizeof *fds);
  all[count] = {settings.command, POLLIN, 0};
  int result = wait_for(all, count + 1, limit, mask);
  if (result > 0 && all[count].revents) {
    serve();
    return forget(fds, count);
  }
  std::memcpy(fds, all, count * sizeof *fds);
  return result;
}

// An object, so that it is constructed after the settings.
struct Loaded {
  Loaded() {
    const char *text = std::getenv("GRIDCENTRIC_MACHINE_COPY");
    if (text == nullptr) return;
    std::istringstream words(text);
    words >> settings.reaper >> settings.server >> settings.memory >> settings.command >> settings.lifeline >>
        settings.tap;
    if (!words) return;
    settings.numbers = {settings.command, settings.lifeline, settings.tap};
    for (int number; words >> number;) settings.numbers.push_back(number);
    for (const int number : {settings.command, settings.lifeline}) fcntl(number, F_SETFD, FD_CLOEXEC);
    unsetenv("GRIDCENTRIC_MACHINE_COPY");
    unsetenv("LD_PRELOAD");
    const char *forced = std::getenv("GRIDCENTRIC_CLONE_MODE");
    settings.mode = forced == nullptr                   ? live_clone::probe().mode
                    : std::strcmp(forced, "pidns") == 0 ? live_clone::Mode::pidns
                                                        : live_clone::Mode::plain;
    watching = true;
    say("ready");
  }
} loaded;

}  // namespace
}  // namespace gridcentric::machine_copy

#define INTERPOSED extern "C" __attribute__((visibility("default")))

INTERPOSED int ppoll(pollfd *fds, nfds_t count, const timespec *limit, const sigset_t *mask) {
  return gridcentric::machine_copy::watched_poll(fds, count, limit, mask);
}

INTERPOSED int __ppoll_chk(pollfd *fds, nfds_t count, const timespec *limit, const sigset_t *mask,
                           std::size_t) {
  return gridcentric::machine_copy::watched_poll(fds, count, limit, mask);
}

INTERPOSED int poll(pollfd *fds, nfds_t count, int limit_ms) {
  const timespec limit{limit_ms / 1000, (limit_ms % 1000) * 1000000L};
  return gridcentric::machine_copy::watched_poll(fds, count, limit_ms < 0 ? nullptr : &limit, nullptr);
}

INTERPOSED int __poll_chk(pollfd *fds, nfds_t count, int limit_ms, std::size_t) {
  return poll(fds, count, limit_ms);
}

// Work in flight in an io_uring cannot be copied; without io_uring QEMU waits for its descriptors with epoll.
INTERPOSED int io_uring_queue_init(unsigned, void *, unsigned) { return -ENOSYS; }

INTERPOSED int ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  if (fd == gridcentric::machine_copy::settings.tap && fd >= 0)
    gridcentric::machine_copy::remember(request, argument);
  return static_cast<int>(syscall(SYS_ioctl, fd, request, argument));
}
