#include "random.hpp"

#include <dlfcn.h>
#include <sys/random.h>

#include <cstdint>
#include <iterator>

#include "isolates.hpp"
#include "own_symbols.hpp"

namespace gridcentric::node {
namespace {

// The kernel's generator is the one source that a clone does not inherit. Up to 256 bytes it neither fails
// nor is interrupted once the machine has booted.
template <typename Seed>
bool draw(Seed &seed) {
  return getrandom(&seed, sizeof seed, 0) == static_cast<ssize_t>(sizeof seed);
}

using Address = std::uintptr_t;

// V8 has no public interface for this. A context's generator that is reset takes a new seed from the isolate's at the next
// Math.random(). Tested with V8 10 to 14 (Node 18 to 26); the tests must pass with a newer one before it is added here.
struct MathRandom {
  Address *(*current_context)(void *isolate);
  void *(*generator)(void *isolate);
  void (*set_seed)(void *generator, std::int64_t);
  void (*reset)(Address context);

  MathRandom() {
    Symbol symbols[] = {
        {"_ZN2v87Isolate17GetCurrentContextEv", nullptr},
        {"_ZN2v88internal7Isolate23random_number_generatorEv", nullptr},
        {"_ZN2v84base21RandomNumberGenerator7SetSeedEl", nullptr},
        {"_ZN2v88internal10MathRandom12ResetContextENS0_6TaggedINS0_7ContextEEE", nullptr},
        {"_ZN2v88internal10MathRandom12ResetContextENS0_7ContextE", nullptr},  // until V8 11
    };
    for (Symbol &s : symbols) s.address = dlsym(RTLD_DEFAULT, s.name);
    const auto known = [&] {
      return symbols[0].address && symbols[1].address && symbols[2].address &&
             (symbols[3].address || symbols[4].address);
    };
    if (!known()) find_own_symbols(std::begin(symbols), std::end(symbols));
    complete = known();
    current_context = reinterpret_cast<Address *(*)(void *)>(symbols[0].address);
    generator = reinterpret_cast<void *(*)(void *)>(symbols[1].address);
    set_seed = reinterpret_cast<void (*)(void *, std::int64_t)>(symbols[2].address);
    reset = reinterpret_cast<void (*)(Address)>(symbols[3].address ? symbols[3].address : symbols[4].address);
  }
  bool complete;
};

const MathRandom &math_random() {
  static const MathRandom found;
  return found;
}

}  // namespace

bool can_reseed_math_random() noexcept { return math_random().complete; }

bool reseed_math_random(void *isolate) {
  const MathRandom &v8 = math_random();
  std::int64_t seed;
  if (!v8.complete || !draw(seed)) return false;
  v8.set_seed(v8.generator(isolate), seed);
  const auto contexts = contexts_of(isolate);
  for (const Address context : contexts) v8.reset(context);
  if (!contexts.empty()) return true;
  Address *const current = v8.current_context(isolate);
  if (current) v8.reset(*current);
  return current != nullptr;
}

}  // namespace gridcentric::node
