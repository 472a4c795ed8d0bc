// Describes what would repeat in each clone of a process, for explain(), `gc check PID` and GRIDCENTRIC_STRICT. Leaves out what
// the user has declared to be reseeded (GRIDCENTRIC_RESEEDED).
// It must not know: how clones are made.
#pragma once
#include <string>
#include <vector>

namespace gridcentric::generators {

// A generator that a binding has found: a row of the table, and the file or package.
struct Repeating {
  std::string generator;
  std::string where;
};

// One line for each generator. pid 0: this process. found_by_binding: what only the language's runtime can see.
std::vector<std::string> what_repeats(int pid, const std::vector<Repeating> &found_by_binding = {});

// Whether GRIDCENTRIC_STRICT is set.
bool strict();

}  // namespace gridcentric::generators
