// Gives the generators inside loaded C libraries a state of their own in a clone, by the functions that the libraries export
// for it (rows FUNCTION of gridcentric/generators.def). A library may have any name, and may be there several times.
// It must not know: how clones are made, languages and their modules.
#pragma once

namespace gridcentric::generators {

// Looks which of the loaded libraries have such functions, unless nothing has been loaded since it looked last. In the
// master, before the copy: a clone then has nothing to look for.
void find_libraries();

// In a clone: reseeds what find_libraries() finds, with bytes of the kernel, the one generator that no clone inherits.
void reseed_libraries();

}  // namespace gridcentric::generators
