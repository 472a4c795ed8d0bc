// Gives the generators inside loaded C libraries new states in a clone, through the functions that the libraries export for
// that (rows FUNCTION of gridcentric/generators.def). A library may have any name, and may be loaded several times.
// It must not know: how clones are made, languages and their modules.
#pragma once

namespace gridcentric::generators {

// Finds the loaded libraries that have such functions, unless nothing has been loaded since the last call. Called in the
// master before the copy, so that a clone need not search.
void find_libraries();

// In a clone: reseeds what find_libraries() has found with bytes from the kernel, the one generator that no clone inherits.
void reseed_libraries();

}  // namespace gridcentric::generators
