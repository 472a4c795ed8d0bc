// The addresses of clones: leased in blocks, the longest free first, shared with other hosts of the machine.
#include "core/hypervisors/addresses.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>

using gridcentric::Addresses;

namespace {

const std::string leases = "gridcentric-test-" + std::to_string(getpid()) + "-";

}  // namespace

TEST_CASE("two hosts never give out the same address; the longest free is given first") {
  std::string error;
  Addresses one(leases), other(leases);
  const auto a = one.take(300, &error);
  const auto b = other.take(300, &error);
  REQUIRE(a.size() == 300);
  REQUIRE(b.size() == 300);
  std::set<std::uint32_t> all(a.begin(), a.end());
  all.insert(b.begin(), b.end());
  CHECK(all.size() == 600);
  CHECK(gridcentric::address_text(a[0]).starts_with("127.77."));
  one.give_back(a[5]);
  one.give_back(a[3]);
  const auto rest = one.take(208, &error);  // what is left of its two blocks comes before what was given back
  CHECK(std::find(rest.begin(), rest.end(), a[5]) == rest.end());
  CHECK(one.take(2, &error) == std::vector<std::uint32_t>{a[5], a[3]});
}

TEST_CASE("a lease ends with its host") {
  std::string error;
  std::uint32_t first;
  {
    Addresses gone(leases);
    first = gone.take(1, &error).at(0);
  }
  Addresses next(leases);
  CHECK(next.take(1, &error).at(0) == first);
}

TEST_CASE("more than there are is refused, and nothing is taken") {
  std::string error;
  Addresses addresses(leases);
  CHECK(addresses.take(70'000, &error).empty());
  CHECK(error.find("127.77.0.0/16") != std::string::npos);
  CHECK(addresses.take(10, &error).size() == 10);
}
