// What the testees share. A testee prepares one kind of resource, calls clone_here(), and checks what it
// finds in the master and in every clone: the same code runs in both. See main.cpp for how it is run.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <string>

#include "core/live_clone/live_clone.hpp"

namespace testee {

namespace live_clone = gridcentric::live_clone;

/// Says who fails where and ends the process: the driver looks for "ok" lines and exit statuses.
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

/// As the command line says: mode, number of clones, path of gc-reaper.
live_clone::Order order();
/// Clones and commits; the index. Ends the process when the engine fails, but tries again after a failure that says
/// `passing`.
int clone_here();
int clone_here(const live_clone::Order &order, const std::string &passing = "");
/// live_clone::clone(), which must do what has been said before by explain() and gc check: the first if it clones, the
/// second if it refuses.
live_clone::Outcome clone_as_foretold(const live_clone::Order &order);
live_clone::Outcome refused_as_foretold(const live_clone::Order &order);
/// What the last clone_here() returned.
const live_clone::Outcome &outcome();
/// Waits in the master until every clone made by clone_here() has ended.
void wait_for_clones();
/// True when one of the degraded notes contains the text.
bool degraded(const std::string &text);
/// Polls until the condition holds; the driver's hang guard is the limit.
void until(const std::function<bool()> &condition);
/// Until a thread sleeps in one of these system calls, in any if none is named. Not in a clone: /proc has other numbers there.
void wait_asleep(int tid, std::initializer_list<long> calls = {});

/// Open descriptors, mappings and children of this process: must be the same before and after a clone.
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
