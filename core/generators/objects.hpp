// Which libraries a process has loaded, and which known generators are in each (rows OBJECT, FUNCTION and TEXT of
// gridcentric/generators.def). Reads the whole files: some tenths of a second the first time, for a process with hundreds of
// MB of code. Results are cached until the file changes.
// It must not know: how the results are reported.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/generators/known.hpp"

namespace gridcentric::generators {

// Paths of the files whose code the process has mapped; pid 0: this process. Empty if /proc/PID/maps cannot be read.
std::vector<std::string> loaded_objects(int pid);

// The rows that apply to a library and whose outcome is REPEATS; none if an OBJECT row says RESEEDED, or if it exports
// functions that reseed. root: the process's root folder, "" for this process. nullopt: the file cannot be read.
std::optional<std::vector<const Known *>> repeating(const std::string &root, const std::string &path);

}  // namespace gridcentric::generators
