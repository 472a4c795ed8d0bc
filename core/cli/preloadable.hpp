// Can `gc run` load its library into a program, so that it can be told to clone itself? Says why not beforehand, where the dynamic
// linker would leave it out, or the program would not start.
// It must not know: orders, what the library does.
#pragma once
#include <string>

namespace gridcentric::cli {

// "" if it can, or if there is no such program (that is for exec to say); else what is wrong with it, and what to do.
std::string why_not_preloadable(const std::string &command);

}  // namespace gridcentric::cli
