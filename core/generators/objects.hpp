// Which libraries a process has loaded, and which known generators are in each (rows OBJECT, FUNCTION and TEXT of
// gridcentric/generators.def). Reads their files, whole: some tenths of a second for a process with hundreds of MB of code,
// the first time. What was found in a file is kept for as long as the file stays what it is.
// It must not know: who is told of it.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/generators/known.hpp"

namespace gridcentric::generators {

// Paths of the files that the process executes code of; pid 0: of this one. Empty when /proc/PID/maps can't be read.
std::vector<std::string> loaded_objects(int pid);

// Rows that a library has, of those whose outcome is `REPEATS`; an OBJECT row that is RESEEDED stands for all of it, and so do
// functions that reseed. root: the root of the process's files, "" for this one's. nullopt: it can't be read.
std::optional<std::vector<const Known *>> repeating(const std::string &root, const std::string &path);

}  // namespace gridcentric::generators
