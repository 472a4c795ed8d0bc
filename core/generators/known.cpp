#include "core/generators/known.hpp"

namespace gridcentric::generators {
namespace {

constexpr std::string_view before_mark(std::string_view evidence) {
  return evidence.substr(0, evidence.find('!'));
}

constexpr std::string_view after_mark(std::string_view evidence) {
  const auto mark = evidence.find('!');
  return mark == std::string_view::npos ? "" : evidence.substr(mark + 1);
}

constexpr Known table[] = {
#define GC_GENERATOR(NAME, FOUND_AS, EVIDENCE, OUTCOME, TRIED, WHAT) \
  {NAME, FoundAs::FOUND_AS, before_mark(EVIDENCE), after_mark(EVIDENCE), InClone::OUTCOME, TRIED, WHAT},
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
