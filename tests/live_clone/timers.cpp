// setitimer and timer_create timers, with signals, with threads, with gaps in the ids.
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include <atomic>
#include <vector>

#include "testee.hpp"

using namespace testee;

static std::atomic<int> fired, last_value;
static void on_timer(int, siginfo_t *info, void *) {
  last_value = info->si_value.sival_int;
  fired++;
}
static void on_thread_timer(sigval) { fired++; }

TESTEE(interval_timer) {
  struct sigaction action {};
  action.sa_sigaction = on_timer;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGALRM, &action, nullptr);
  const itimerval every{{0, 20000}, {0, 20000}};
  CHECK(setitimer(ITIMER_REAL, &every, nullptr) == 0);
  clone_here();
  const int before = fired;
  until([&] { return fired > before + 2; });
  const itimerval off{};
  setitimer(ITIMER_REAL, &off, nullptr);
}

// An interval that has expired and whose signal is still pending, as may happen to any timer during the pause.
TESTEE(interval_timer_with_its_signal_pending_main) {
  struct sigaction action {};
  action.sa_sigaction = on_timer;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGALRM, &action, nullptr);
  sigset_t alarm, pending;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  CHECK(sigprocmask(SIG_BLOCK, &alarm, nullptr) == 0);
  const itimerval every{{0, 20000}, {0, 1}};
  CHECK(setitimer(ITIMER_REAL, &every, nullptr) == 0);
  until([&] { return sigpending(&pending) == 0 && sigismember(&pending, SIGALRM); });
  clone_here();
  CHECK(sigprocmask(SIG_UNBLOCK, &alarm, nullptr) == 0);
  until([] { return fired > 2; });
  const itimerval off{};
  setitimer(ITIMER_REAL, &off, nullptr);
}

TESTEE(posix_timers_keep_their_ids) {
  struct sigaction action {};
  action.sa_sigaction = on_timer;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGRTMIN + 3, &action, nullptr);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMIN + 3;
  std::vector<timer_t> timers(6);
  for (size_t i = 0; i < timers.size(); i++) {
    event.sigev_value.sival_int = 100 + (int)i;
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timers[i]) == 0);
  }
  CHECK(timer_delete(timers[0]) == 0 && timer_delete(timers[3]) == 0);
  const itimerspec far{{0, 0}, {1000, 0}};
  CHECK(timer_settime(timers[4], 0, &far, nullptr) == 0);
  clone_here();
  itimerspec now{};
  CHECK(timer_gettime(timers[4], &now) == 0 && now.it_value.tv_sec > 900);
  CHECK(timer_gettime(timers[5], &now) == 0 && now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0);
  CHECK(timer_gettime(timers[3], &now) == -1);
  const itimerspec soon{{0, 0}, {0, 1000000}};
  const int before = fired;
  CHECK(timer_settime(timers[5], 0, &soon, nullptr) == 0);
  until([&] { return fired > before; });
  CHECK_EQ(last_value.load(), 105);
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &timers[0]) == 0);  // new ids do not collide
}

TESTEE(thread_timer) {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD;
  event.sigev_notify_function = on_thread_timer;
  timer_t timer;
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  const itimerspec every{{0, 10000000}, {0, 10000000}};
  CHECK(timer_settime(timer, 0, &every, nullptr) == 0);
  until([] { return fired > 1; });
  clone_here();
  const int before = fired;
  until([&] { return fired > before + 2; });
  CHECK(timer_delete(timer) == 0);
}
