// Shared by the testees. A testee prepares one kind of resource, calls clone_here(), and checks what it finds in the master
// and in every clone: the same code runs in both. See main.cpp for how it is run.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <string>

#include "core/live_clone/live_clone.hpp"

namespace testee {

namespace live_clone = gridcentric::live_clone;

/// Prints which process fails and where, and ends it: test_testees.py checks "ok" lines and exit statuses.
[[noreturn]] void fail(const char *file, int line, const std::string &what);

#define CHECK(condition)                                            \
  do {                                                              \
    if (!(condition)) testee::fail(__FILE__, __LINE__, #condition); \
  } while (0)

#define CHECK_EQ(a, b)                                                                         \
  do {                                                                                         \
    const auto va = (a);                                                                       \
    const auto vb = (b);                                                                       \
    if (!(va == vb))                                                                           \
      testee::fail(__FILE__, __LINE__,                                                         \
                   #a " == " #b ": " + std::to_string(va) + " against " + std::to_string(vb)); \
  } while (0)

/// From the command line: mode, number of clones, path of gc-reaper.
live_clone::Order order();
/// Clones and commits; returns the index. Ends the process if the engine fails, but tries again after a failure whose message
/// contains `passing`.
int clone_here();
int clone_here(const live_clone::Order &order, const std::string &passing = "");
/// live_clone::clone(), whose outcome must be what explain() and gc check have predicted: the first if it clones, the second
/// if it refuses.
live_clone::Outcome clone_as_foretold(const live_clone::Order &order);
live_clone::Outcome refused_as_foretold(const live_clone::Order &order);
/// The outcome of the last clone_here().
const live_clone::Outcome &outcome();
/// Waits in the master until every clone made by clone_here() has ended.
void wait_for_clones();
/// True if one of the degraded notes contains the text.
bool degraded(const std::string &text);
/// Polls until the condition holds; the driver's hang guard is the limit.
void until(const std::function<bool()> &condition);
/// Waits until a thread sleeps in one of these system calls, or in any if none is named. Not for clones: /proc has other ids
/// there.
void wait_asleep(int tid, std::initializer_list<long> calls = {});

/// In this thread.
void block_all_signals();
/// Or an end.
bool has_input(int fd);
/// Of a socket's own address, IPv4 or IPv6.
uint16_t port_of(int fd);

/// Open descriptors, mappings and children of this process, which must be the same before and after a clone.
size_t count_descriptors();
size_t count_mappings();

struct Registration {
  Registration(const char *name, void (*run)());
};
#define TESTEE(name)                                              \
  static void name();                                             \
  static const testee::Registration register_##name(#name, name); \
  static void name()

}  // namespace testee
