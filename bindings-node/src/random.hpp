// Gives the generators of random numbers that live in Node's binary a state of their own in a clone.
// It must not know: domains, calls, JavaScript's own caches (lib/after_clone.js), OpenSSL (core/generators).
#pragma once

namespace gridcentric::node {

// Math.random of all contexts of an isolate, references taken before included. On the isolate's thread, with a handle
// scope. False: this Node's V8 doesn't have what it takes, nothing was changed.
bool reseed_math_random(void *isolate);

// Whether that works here. Finding out takes some milliseconds the first time, so it is done before there are clones.
bool can_reseed_math_random() noexcept;

}  // namespace gridcentric::node
