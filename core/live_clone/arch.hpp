// Selects the processor: everything specific to one is in arch_<name>.hpp and arch_<name>.cpp.
#pragma once

#if defined(__x86_64__)
#include "arch_x86_64.hpp"
#elif defined(__aarch64__)
#include "arch_aarch64.hpp"
#else
#error \
    "the live clone engine knows x86-64 and aarch64 only: write core/live_clone/arch_<name>.hpp for this processor"
#endif

namespace gridcentric::live_clone::arch {
extern "C" {
/// Stores the callee-saved state and returns 0; returns a second time, 1, when gc_context_resume is called
/// with it.
__attribute__((returns_twice)) int gc_context_save(Context *context);
[[noreturn]] void gc_context_resume(const Context *context);
/// clone(2) on a new stack; the child calls fn(arg), which must not return. The parent gets the pid or -errno.
long gc_task_clone(unsigned long flags, void *stack_top, int *parent_tid, int *child_tid, uint64_t tls,
                   void (*fn)(void *), void *arg);
/// clone3(2) on the stack that args names; the child calls fn(arg), which must not return.
long gc_task_clone3(const void *args, size_t size, void (*fn)(void *), void *arg);
/// Makes a system call such that a signal handler that interrupts it can see so in its frame and find `mark`
/// (resumed_wait). Returns the result or -errno.
long gc_wait_call(long number, const uint64_t *args, void *mark);
/// Where gc_wait_call returns to from the kernel.
extern const char gc_wait_call_end[];
/// The end of a signal handler: SA_RESTORER points here.
void gc_signal_return();
}

/// The mark of the gc_wait_call that the signal of this frame interrupted; null if it interrupted none.
inline void *resumed_wait(const ucontext_t *frame) {
  return returns_eintr(frame) && pc_of(frame) == (uint64_t)gc_wait_call_end ? mark_of(frame) : nullptr;
}
}  // namespace gridcentric::live_clone::arch
