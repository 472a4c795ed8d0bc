// Starts a thread of the library's own in somebody's program: it takes none of the program's signals.
// It must not know: what the thread does.
#pragma once
#include <pthread.h>
#include <signal.h>

namespace gridcentric::guest {

// As pthread_create() returns it: 0, or the error.
inline int start_library_thread(pthread_t *thread, void *(*run)(void *), void *given) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = ::pthread_create(thread, nullptr, run, given);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

}  // namespace gridcentric::guest
