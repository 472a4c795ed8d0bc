// One policy: what is said about a process beforehand, by itself (explain()) and from outside (gc check), is what happens
// when it clones. Every testee is checked before its clone.
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "testee.hpp"

namespace testee {
namespace {

[[noreturn]] void differs(const std::string &who, const std::string &what) {
  fail(__FILE__, __LINE__, who + " " + what);
}

// A passing obstacle: if it ends while clone() waits, clone() reports nothing.
bool passes(const std::string &note) { return note.find("clone() waits for it to end") != std::string::npos; }

// Before Linux 6.8 they cannot be seen from outside.
bool descriptors_in_flight_are_told() {
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(ends[0]));
  bool told = false;
  for (std::string line; std::getline(info, line);) told |= line.rfind("scm_fds:", 0) == 0;
  close(ends[0]);
  close(ends[1]);
  return told;
}

// Before Linux 5.14 only trying shows that a receive buffer can't grow.
bool fixed_buffers_are_told() {
  int locks;
  socklen_t size = sizeof locks;
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const bool told = getsockopt(fd, SOL_SOCKET, 72 /* SO_BUF_LOCK */, &locks, &size) == 0;
  close(fd);
  return told;
}

bool is_hidden(const std::string &note) {
  const auto says = [&](const char *text) { return note.find(text) != std::string::npos; };
  return (says("SCM_RIGHTS") && !descriptors_in_flight_are_told()) ||
         (says("what was sent does not arrive") && !fixed_buffers_are_told());
}

void compare(const std::string &who, const live_clone::Preflight &said, const live_clone::Order &order,
             const live_clone::Outcome &result) {
  if (!said.can_clone) differs(who, "refused what was cloned: " + said.refusals[0].what);
  std::multiset<std::string> notes(said.notes.begin(), said.notes.end());
  for (int fd : order.private_descriptors)  // these are not the program's
    std::erase_if(notes, [&](const std::string &n) {
      return n.rfind("descriptor " + std::to_string(fd) + ":", 0) == 0;
    });
  if (order.lifeline >= 0)
    std::erase_if(notes, [&](const std::string &n) {
      return n.rfind("descriptor " + std::to_string(order.lifeline) + ":", 0) == 0;
    });
  for (const auto &note : result.degraded) {
    const auto found = notes.find(note);
    if (found == notes.end() && !is_hidden(note)) differs(who, "did not say '" + note + "'");
    if (found != notes.end()) notes.erase(found);
  }
  std::erase_if(notes, passes);
  if (!notes.empty()) differs(who, "said '" + *notes.begin() + "', which did not happen");
}

// Refused in the same words; a thread that may still stop, and a transaction that may still end, are only noted.
void compare_refusal(const std::string &who, const live_clone::Preflight &said,
                     const live_clone::Outcome &result) {
  const std::string thread = result.message.substr(0, result.message.find(") ") + 1);
  const bool refused = std::any_of(said.refusals.begin(), said.refusals.end(), [&](const auto &refusal) {
    return refusal.what == result.message && refusal.err == result.err;
  });
  const bool noted = std::any_of(said.notes.begin(), said.notes.end(), [&](const std::string &note) {
    return note == result.message || (result.err == ETIMEDOUT && note.rfind(thread, 0) == 0);
  });
  if (!refused && !noted) differs(who, "did not say '" + result.message + "'");
}

// In a clone with its own pid namespace, its numbers are those of other processes in /proc.
bool is_seen_from_outside() {
  char text[32] = {};
  return readlink("/proc/self", text, sizeof text - 1) > 0 && atoi(text) == getpid();
}

struct Foretold {
  live_clone::Preflight inside, outside;
  bool seen;
  explicit Foretold(live_clone::Mode mode)
      : inside(live_clone::preflight(mode)), seen(is_seen_from_outside()) {
    if (seen) outside = live_clone::preflight_of(getpid(), mode);
  }
};

}  // namespace

live_clone::Outcome clone_as_foretold(const live_clone::Order &order) {
  const Foretold said(order.mode);
  const auto result = live_clone::clone(order);
  if (result.index < 0) return result;
  compare("explain()", said.inside, order, result);
  if (said.seen) compare("gc check", said.outside, order, result);
  return result;
}

live_clone::Outcome refused_as_foretold(const live_clone::Order &order) {
  const Foretold said(order.mode);
  const auto result = live_clone::clone(order);
  if (result.index >= 0) return result;
  compare_refusal("explain()", said.inside, result);
  if (said.seen) compare_refusal("gc check", said.outside, result);
  return result;
}

}  // namespace testee
