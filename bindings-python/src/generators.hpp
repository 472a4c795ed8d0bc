// The generators of random numbers that Python modules have ready-made (rows MODULE of gridcentric/generators.def).
// It must not know: how clones are made, what else is made right in one.
#pragma once

namespace gridcentric::python {

// In a clone, with the GIL held: gives each a state of its own. What goes wrong with one is said through sys.unraisablehook.
void reseed_modules();

}  // namespace gridcentric::python
