// Copies a layer of an overlay: a folder with all that is in it, also what marks removed files. Knows overlayfs' attributes;
// knows nothing about clones. Runs while threads are parked, or in a clone that has one thread: see sys.hpp.
#pragma once

#include "engine.hpp"

namespace gridcentric::live_clone {

/// Copies what is in one folder into another, which is empty. Files that somebody removes meanwhile are left out. False with a
/// failure recorded.
bool copy_layer(const char *from, const char *to);

}  // namespace gridcentric::live_clone
