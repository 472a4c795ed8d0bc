// What each clone of the machine will do first of all, done once before its programs are there: an emulated machine translates
// the code of it then, and its clones inherit the translation. Done anew in each, it was half of what becoming another costs.
#pragma once
#include <string>

#include "core/hypervisors/qemu/agent/machine.hpp"

namespace gridcentric::agent {

// become(), after the machine has been another one for a moment, with a connection that becoming this one resets. What
// fails of the rehearsal is said on the console: clones will be slower.
std::string become_rehearsed(const Identity &first);

}  // namespace gridcentric::agent
