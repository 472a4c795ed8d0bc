// The table of known generators (gridcentric/generators.def) for C++. Start reading there.
// It must not know: how generators are found or reseeded.
#pragma once
#include <span>
#include <string_view>

namespace gridcentric::generators {

enum class FoundAs { FUNCTION, OBJECT, TEXT, MODULE, PACKAGE, NODE };
enum class InClone { RESEEDED, REPEATS };

struct Known {
  std::string_view name;
  FoundAs found_as;
  std::string_view evidence;     ///< as generators.def explains it
  std::string_view reseeded_by;  ///< part of the path of a library that reseeds it; empty: none does
  InClone outcome;
  std::string_view tried;
  std::string_view what;
};

std::span<const Known> known() noexcept;

// nullptr: not in the table.
const Known *find_known(std::string_view name) noexcept;

}  // namespace gridcentric::generators
