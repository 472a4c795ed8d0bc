// The isolates of all threads, those of workers that never loaded this addon included. In a clone each gives itself random
// numbers of its own, before any further JavaScript runs there.
// It must not know: domains, calls, what is renewed by JavaScript (lib/renew.js).
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace gridcentric::node {

// Learns, once a process, where V8 has what is needed: the thread's isolate, the isolate's contexts. On the thread of an
// isolate. make_context() makes a new context there; undefined: that value, as V8 has it in memory. What can't be learned
// is done without: then only the current context of an isolate is renewed, or isolates of other threads are not found.
void learn_isolates(const std::function<void()> &make_context, std::uintptr_t undefined);

// What V8 must run in the isolates of threads that have not loaded this addon: a function expression without arguments.
void set_renewal(std::string script);

// The calling thread's isolate.
void *current_isolate();

// Native contexts of the calling thread's isolate, newest first, as V8 has them in memory; those of node:vm among them.
std::vector<std::uintptr_t> contexts_of(void *isolate);

// In a clone: isolates of these threads renew themselves as soon as they run again. known: they do the rest by themselves;
// left_out: needs nothing.
void renew_isolates(const std::vector<std::uintptr_t> &thread_pointers, const std::vector<void *> &known,
                    void *left_out);

}  // namespace gridcentric::node
