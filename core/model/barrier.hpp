// The meeting point of a ticket's clones and the domain that cloned them (rule 7). Counts arrivals; knows no
// time: its user breaks it when somebody's time has run out.
#pragma once
#include <cstdint>
#include <unordered_set>
#include <vector>

namespace gridcentric {

class Barrier {
 public:
  using Calls = std::vector<std::uint64_t>;  // in the order of arrival
  enum class Arrival { waits, passes, broken, twice };

  explicit Barrier(std::size_t members) : members_(members) {}

  // waits: the call is kept until start_anew(), withdraw() or break_for_ever(). passes: it was the last one,
  // all calls (its own too) are due: start_anew(). broken, twice: not kept.
  Arrival arrive(std::uint64_t member, std::uint64_t call);
  void withdraw(std::uint64_t member, std::uint64_t call);
  // Everybody who waits; then nobody does.
  Calls start_anew();
  // A member has ended: the barrier can never pass again. Everybody who waits.
  Calls break_for_ever();

 private:
  std::size_t members_;
  bool broken_ = false;
  Calls calls_;
  std::unordered_set<std::uint64_t> present_;
};

}  // namespace gridcentric
