#include "random.hpp"

#include <dlfcn.h>
#include <sys/random.h>

#include <cstdint>
#include <iterator>

#include "own_symbols.hpp"

namespace gridcentric::node {
namespace {

// A function of Node's own binary by its linker name; nullptr when this Node has none of that name.
template <typename Function>
Function *find(const char *name) {
  return reinterpret_cast<Function *>(dlsym(RTLD_DEFAULT, name));
}

// The kernel's generator is the one source that a clone does not inherit. Up to 256 bytes it neither fails
// nor is interrupted once the machine has booted.
template <typename Seed>
bool draw(Seed &seed) {
  return getrandom(&seed, sizeof seed, 0) == static_cast<ssize_t>(sizeof seed);
}

}  // namespace

void reseed_openssl() noexcept {
  // RAND_seed reseeds the primary generator; those of the threads follow when they are used next. RAND_poll
  // does nothing for the default generator of OpenSSL 3.
  auto *const rand_seed = find<void(const void *, int)>("RAND_seed");
  std::uint8_t seed[48];
  if (rand_seed && draw(seed)) rand_seed(seed, sizeof seed);
}

namespace {

using Address = std::uintptr_t;

// V8 has no public way. A context's generator that is reset takes a new seed from the isolate's at the next
// Math.random(). Tried with V8 10 to 14 (Node 18 to 26); a newer one is tried by the tests before it is added here.
struct MathRandom {
  void *(*current_isolate)();
  Address *(*current_context)(void *isolate);
  void *(*generator)(void *isolate);
  void (*set_seed)(void *generator, std::int64_t);
  void (*reset)(Address context);

  MathRandom() {
    Symbol symbols[] = {
        {"_ZN2v87Isolate10GetCurrentEv", nullptr},
        {"_ZN2v87Isolate17GetCurrentContextEv", nullptr},
        {"_ZN2v88internal7Isolate23random_number_generatorEv", nullptr},
        {"_ZN2v84base21RandomNumberGenerator7SetSeedEl", nullptr},
        {"_ZN2v88internal10MathRandom12ResetContextENS0_6TaggedINS0_7ContextEEE", nullptr},
        {"_ZN2v88internal10MathRandom12ResetContextENS0_7ContextE", nullptr},  // until V8 11
    };
    for (Symbol &s : symbols) s.address = dlsym(RTLD_DEFAULT, s.name);
    const auto known = [&] {
      return symbols[0].address && symbols[1].address && symbols[2].address && symbols[3].address &&
             (symbols[4].address || symbols[5].address);
    };
    if (!known()) find_own_symbols(std::begin(symbols), std::end(symbols));
    complete = known();
    current_isolate = reinterpret_cast<void *(*)()>(symbols[0].address);
    current_context = reinterpret_cast<Address *(*)(void *)>(symbols[1].address);
    generator = reinterpret_cast<void *(*)(void *)>(symbols[2].address);
    set_seed = reinterpret_cast<void (*)(void *, std::int64_t)>(symbols[3].address);
    reset = reinterpret_cast<void (*)(Address)>(symbols[4].address ? symbols[4].address : symbols[5].address);
  }
  bool complete;
};

const MathRandom &math_random() {
  static const MathRandom found;
  return found;
}

}  // namespace

bool can_reseed_math_random() noexcept { return math_random().complete; }

bool reseed_math_random() noexcept {
  const MathRandom &v8 = math_random();
  std::int64_t seed;
  if (!v8.complete || !draw(seed)) return false;
  void *const isolate = v8.current_isolate();
  v8.set_seed(v8.generator(isolate), seed);
  v8.reset(*v8.current_context(isolate));
  return true;
}

}  // namespace gridcentric::node
