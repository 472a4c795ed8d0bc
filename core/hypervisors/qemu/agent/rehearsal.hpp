// Does what each clone of the VM will do first of all, once, before there are programs: an emulated VM then translates that
// code, and its clones inherit the translation. Translating it in each clone took half of the time of become().
#pragma once
#include <string>

#include "core/hypervisors/qemu/agent/machine.hpp"

namespace gridcentric::agent {

// Like become(), but first takes another identity for a moment, with a connection for the real become() to reset. Reports a
// failed rehearsal on the console: it only makes clones slower.
std::string become_rehearsed(const Identity &first);

}  // namespace gridcentric::agent
