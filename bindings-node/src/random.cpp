#include "random.hpp"

#include <dlfcn.h>
#include <sys/random.h>

#include <cstdint>

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

bool reseed_math_random() noexcept {
  // V8 has no public way. Its functions are visible in Node's binary, though: a context's generator that is
  // reset takes a new seed from the isolate's at the next Math.random().
  using Address = std::uintptr_t;
  auto *const current_isolate = find<void *()>("_ZN2v87Isolate10GetCurrentEv");
  auto *const current_context = find<Address *(void *isolate)>("_ZN2v87Isolate17GetCurrentContextEv");
  auto *const generator = find<void *(void *isolate)>("_ZN2v88internal7Isolate23random_number_generatorEv");
  auto *const set_seed =
      find<void(void *generator, std::int64_t)>("_ZN2v84base21RandomNumberGenerator7SetSeedEl");
  auto *reset = find<void(Address context)>("_ZN2v88internal10MathRandom12ResetContextENS0_7ContextE");
  if (!reset)
    reset =
        find<void(Address context)>("_ZN2v88internal10MathRandom12ResetContextENS0_6TaggedINS0_7ContextEEE");
  std::int64_t seed;
  if (!current_isolate || !current_context || !generator || !set_seed || !reset || !draw(seed)) return false;
  void *const isolate = current_isolate();
  set_seed(generator(isolate), seed);
  reset(*current_context(isolate));
  return true;
}

}  // namespace gridcentric::node
