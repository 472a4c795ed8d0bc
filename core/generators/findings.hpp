// What would repeat in each clone of a process, in words: for explain(), `gc check PID` and GRIDCENTRIC_STRICT. What the user has
// declared to be reseeded (GRIDCENTRIC_RESEEDED) is left out.
// It must not know: how clones are made.
#pragma once
#include <string>
#include <vector>

namespace gridcentric::generators {

// A generator that a binding has found: of a row of the table, in a file or package.
struct Repeating {
  std::string generator;
  std::string where;
};

// One line for each. pid 0: this process. found_by_binding: what only the language's runtime can see.
std::vector<std::string> what_repeats(int pid, const std::vector<Repeating> &found_by_binding = {});

// Whether GRIDCENTRIC_STRICT asks for it.
bool strict();

}  // namespace gridcentric::generators
