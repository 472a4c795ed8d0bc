#include "core/generators/reseed.hpp"

#include <link.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

#include "core/generators/elf_image.hpp"
#include "core/generators/known.hpp"

namespace gridcentric::generators {
namespace {

using Seed = std::array<unsigned char, 64>;

// How to call a function that reseeds.
struct Caller {
  const char *function;
  void (*call)(void *function, const Seed &seed);
};

constexpr Caller callers[] = {
    // Feeds the primary generator; those of the threads follow when they are next used. (RAND_poll does nothing for
    // OpenSSL 3's own generators.)
    {"RAND_seed",
     [](void *function, const Seed &seed) {
       reinterpret_cast<void (*)(const void *, int)>(function)(seed.data(), int{sizeof seed});
     }},
    // Documented: discards the state, so that the next use draws a new one.
    {"sqlite3_randomness",
     [](void *function, const Seed &) { reinterpret_cast<void (*)(int, void *)>(function)(0, nullptr); }},
    {"gnutls_rnd_refresh", [](void *function, const Seed &) { reinterpret_cast<void (*)()>(function)(); }},
};

constexpr bool every_function_has_a_caller() {
  constexpr std::pair<FoundAs, std::string_view> rows[] = {
#define GC_GENERATOR(NAME, FOUND_AS, EVIDENCE, OUTCOME, TRIED, WHAT) {FoundAs::FOUND_AS, EVIDENCE},
#include <gridcentric/generators.def>
#undef GC_GENERATOR
  };
  return std::ranges::all_of(rows, [](const auto &row) {
    return row.first != FoundAs::FUNCTION ||
           std::ranges::any_of(callers, [&](const Caller &c) { return row.second == c.function; });
  });
}
static_assert(every_function_has_a_caller());

struct Found {
  void *function;
  void (*call)(void *function, const Seed &seed);
  bool operator==(const Found &) const = default;
};

struct State {
  std::mutex lock;
  unsigned long long added = 0, removed = 0;  // the dynamic linker's counts at the last look
  std::vector<Found> found;
};

// Never destroyed, because a clone may be made while the process exits.
State &state() {
  static State &instance = *new State;
  return instance;
}

int look_at(dl_phdr_info *loaded, std::size_t, void *data) {
  State &s = *static_cast<State *>(data);
  s.added = loaded->dlpi_adds;
  s.removed = loaded->dlpi_subs;
  const ElfImage image(*loaded);
  for (const Caller &caller : callers) {
    const Found found{reinterpret_cast<void *>(image.exported_function(caller.function)), caller.call};
    if (found.function != nullptr && std::ranges::find(s.found, found) == s.found.end())
      s.found.push_back(found);
  }
  return 0;
}

int has_changed(dl_phdr_info *loaded, std::size_t, void *data) {
  const State &s = *static_cast<State *>(data);
  return loaded->dlpi_adds != s.added || loaded->dlpi_subs != s.removed ? 2 : 1;  // both end the walk
}

Seed draw() {
  Seed seed{};
  // Up to 256 bytes getrandom() never returns less; before the kernel's generator is ready it blocks.
  while (::getrandom(seed.data(), seed.size(), 0) != static_cast<ssize_t>(seed.size())) {
  }
  return seed;
}

}  // namespace

void find_libraries() {
  State &s = state();
  std::lock_guard guard(s.lock);
  if (::dl_iterate_phdr(has_changed, &s) != 2) return;
  s.found.clear();
  ::dl_iterate_phdr(look_at, &s);
}

void reseed_libraries() {
  find_libraries();
  State &s = state();
  std::lock_guard guard(s.lock);
  for (const Found &found : s.found) found.call(found.function, draw());
}

}  // namespace gridcentric::generators
