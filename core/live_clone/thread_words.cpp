// What the kernel and the C library keep in the program's memory for each parked thread: the list of robust mutexes, the id.
// Runs while threads are parked: see sys.hpp.
#include "engine.hpp"
#include "program_memory.hpp"

namespace gridcentric::live_clone {
namespace {

// Without it a clone would not notice the death of a thread that holds a robust mutex. ENOSYS: the kernel has no such lists.
bool robust_lists_are_known() {
  for (size_t i = 0; i < engine.plan.thread_count; i++) {
    const Thread &t = engine.plan.threads[i];
    if (t.state == thread_parked && t.robust_error && t.robust_error != ENOSYS)
      return fail(t.robust_error) << "get_robust_list is refused (error " << t.robust_error
                                  << "): a seccomp filter must allow it",
             false;
  }
  return true;
}

// Where the C library keeps the ids of its threads, to correct them in plain mode. Threads that it did not create have none.
bool find_id_words() {
  const Engine &e = engine;
  const ProgramMemory memory;
  if (const int err = memory.error(); err)
    return fail(err) << "/proc/self/mem can't be opened (error " << err << ")", false;
  for (size_t i = 0; i < e.plan.thread_count; i++) {
    Thread &t = e.plan.threads[i];
    if (t.state != thread_parked) continue;
    int *const places[] = {e.prepared.libc.thread_id_offset
                               ? reinterpret_cast<int *>(t.registers.tls + e.prepared.libc.thread_id_offset)
                               : nullptr,
                           t.tid_address};
    for (int *place : places) {
      int id = 0;
      if (t.id_word || !place || memory.read((uint64_t)place, &id, sizeof id) != sizeof id) continue;
      if (id == t.tid) t.id_word = place;
    }
  }
  if (!e.pidns() && !e.plan.threads[0].id_word)
    return fail(EOPNOTSUPP) << "plain mode does not know where this C library keeps the ids of threads; use "
                               "pidns mode",
           false;
  return true;
}

}  // namespace

bool plan_threads() { return robust_lists_are_known() && find_id_words(); }

}  // namespace gridcentric::live_clone
