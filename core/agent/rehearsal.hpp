// What each clone of the machine will do first of all, done once before its programs are there: an emulated machine translates
// the code of it then, and its clones inherit the translation. Done anew in each, it was half of what becoming another costs.
#pragma once
#include "core/agent/machine.hpp"

namespace gridcentric::agent {

// The machine becomes another one, with a connection that becoming `first` resets. What fails is said on the console: it
// will be slower.
void rehearse(const Identity &first);

}  // namespace gridcentric::agent
