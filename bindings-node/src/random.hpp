// Reseeds, in a clone, the random number generators in Node's binary.
// It must not know: domains, calls, JavaScript's own caches (lib/after_clone.js), OpenSSL (core/generators).
#pragma once

namespace gridcentric::node {

// Reseeds Math.random of all contexts of an isolate, including references taken earlier. Call it on the isolate's thread, with
// a handle scope. False: this Node's V8 lacks what it needs, and nothing was changed.
bool reseed_math_random(void *isolate);

// Whether that works here. Finding out takes some milliseconds the first time, so do it before there are clones.
bool can_reseed_math_random() noexcept;

}  // namespace gridcentric::node
