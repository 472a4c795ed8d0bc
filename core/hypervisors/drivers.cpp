#include <algorithm>
#include <array>
#include <gridcentric/drivers.hpp>

namespace gridcentric {

// GC_DRIVERS comes from the build: GC_DRIVER(NAME) for each line `driver .../NAME.cpp` of core/sources.txt.
#define GC_DRIVER(name) extern const Driver name##_driver;
GC_DRIVERS
#undef GC_DRIVER

namespace {

constexpr std::size_t count = 0
#define GC_DRIVER(name) +1
    GC_DRIVERS
#undef GC_DRIVER
    ;

std::array<const Driver *, count> in_order() {
  std::array<const Driver *, count> all = {
#define GC_DRIVER(name) &name##_driver,
      GC_DRIVERS
#undef GC_DRIVER
  };
  const auto rank = [](const Driver *one) { return one->is_default ? 0 : one->scripted ? 2 : 1; };
  std::stable_sort(all.begin(), all.end(),
                   [&](const Driver *a, const Driver *b) { return rank(a) < rank(b); });
  return all;
}

template <class Wanted>
std::string names(Wanted wanted) {
  std::string text;
  std::string last;
  for (const Driver *one : drivers()) {
    if (!wanted(*one)) continue;
    if (!last.empty()) text += (text.empty() ? "" : ", ") + last;
    last = one->name;
  }
  return text.empty() ? last : text + " or " + last;
}

}  // namespace

std::span<const Driver *const> drivers() {
  static const auto all = in_order();
  return all;
}

const Driver &default_driver() { return *drivers().front(); }

const Driver *find_driver(std::string_view name) {
  for (const Driver *one : drivers())
    if (one->name == name) return one;
  return nullptr;
}

std::string names_of_drivers(bool Driver::*which) {
  return names([which](const Driver &one) { return one.*which; });
}

std::string names_of_drivers(bool tests_too) {
  return names([tests_too](const Driver &one) { return tests_too || !one.scripted; });
}

std::string who_can(bool Capabilities::*what) {
  for (const Driver *one : drivers())
    if (one->can.*what) return std::string("; the ") + one->name + " hypervisor " + one->clones;
  return "";
}

}  // namespace gridcentric
