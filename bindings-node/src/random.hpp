// Gives the generators of random numbers that live in Node's binary a state of their own in a clone.
// It must not know: domains, calls, JavaScript's own caches (lib/after_clone.js).
#pragma once

namespace gridcentric::node {

// OpenSSL's generators, of all threads: what they draw from now on differs from what the master draws. Any
// thread. Does nothing in a Node without OpenSSL.
void reseed_openssl() noexcept;

// Math.random of the current context, references taken before included. On the thread of an isolate, with a
// handle scope. False: this Node's V8 doesn't have what it takes, nothing was changed.
bool reseed_math_random() noexcept;

// Whether that works here. Finding out takes some milliseconds the first time, so it is done before there are clones.
bool can_reseed_math_random() noexcept;

}  // namespace gridcentric::node
