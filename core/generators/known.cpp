#include "core/generators/known.hpp"

namespace gridcentric::generators {
namespace {

constexpr Known table[] = {
#define GC_GENERATOR(NAME, FOUND_AS, EVIDENCE, OUTCOME, TRIED, WHAT) \
  {NAME, FoundAs::FOUND_AS, EVIDENCE, InClone::OUTCOME, TRIED, WHAT},
#include <gridcentric/generators.def>
#undef GC_GENERATOR
};

}  // namespace

std::span<const Known> known() noexcept { return table; }

const Known *find_known(std::string_view name) noexcept {
  for (const Known &row : table)
    if (row.name == name) return &row;
  return nullptr;
}

}  // namespace gridcentric::generators
