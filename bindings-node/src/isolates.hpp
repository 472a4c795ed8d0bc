// The isolates of all threads, including workers that never loaded this addon. In a clone each reseeds its random numbers
// before any further JavaScript runs there.
// It must not know: domains, calls, what is renewed by JavaScript (lib/renew.js).
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace gridcentric::node {

// Learns, once per process, where V8 keeps what is needed: the thread's isolate, the isolate's contexts. Call it on an isolate's
// thread. make_context() makes a new context there; undefined: that value, as V8 has it in memory. If something can't be
// learned, only an isolate's current context is renewed, or the isolates of other threads are not found.
void learn_isolates(const std::function<void()> &make_context, std::uintptr_t undefined);

// Sets what V8 runs in the isolates of threads that have not loaded this addon: a function expression without arguments.
void set_renewal(std::string script);

// The calling thread's isolate.
void *current_isolate();

// Native contexts of the calling thread's isolate, newest first, as V8 has them in memory; includes those of node:vm.
std::vector<std::uintptr_t> contexts_of(void *isolate);

// In a clone: makes the isolates of these threads renew themselves as soon as they run again. known: do the rest by themselves;
// left_out: needs nothing.
void renew_isolates(const std::vector<std::uintptr_t> &thread_pointers, const std::vector<void *> &known,
                    void *left_out);

// The same for one isolate, that of a thread which runs no JavaScript at the moment.
void renew_isolate(void *isolate);

}  // namespace gridcentric::node
