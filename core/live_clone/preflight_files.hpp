// The part of the preflight that examines pipes, pseudo-terminals and file locks.
#pragma once

#include <string>
#include <vector>

#include "preflight_open_files.hpp"

namespace gridcentric::live_clone {

/// What clones of the process with this folder in /proc would lack, a line for each. Says what the plan (pipes.cpp,
/// ptys.cpp, file_locks.cpp) would do, by the same rules.
std::vector<std::string> notes_on_files(const std::string &proc, const Surroundings &around);

}  // namespace gridcentric::live_clone
