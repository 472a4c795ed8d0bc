// The random number generators of Python modules (rows MODULE of gridcentric/generators.def).
// It must not know: how clones are made, what else is repaired in one.
#pragma once

namespace gridcentric::python {

// In a clone, with the GIL held: reseeds each. A failure of one is reported through sys.unraisablehook.
void reseed_modules();

}  // namespace gridcentric::python
