// What cannot be cloned is refused by name, the process goes on unharmed, and once the obstacle is gone it can be cloned.
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "testee.hpp"

using namespace testee;

// The clone must fail with this errno and a message with this text; what can be known beforehand must be said beforehand.
static void refused(int err, const std::string &text, int park_ms = 3000, bool foreseen = true) {
  auto o = order();
  o.park_timeout_ms = park_ms;
  const size_t before = count_descriptors();
  const auto r = foreseen ? refused_as_foretold(o) : live_clone::clone(o);
  if (r.index >= 0) fail(__FILE__, __LINE__, "cloned despite " + text);
  if (r.message.find(text) == std::string::npos)
    fail(__FILE__, __LINE__, "'" + r.message + "' does not say " + text);
  CHECK_EQ(r.err, err);
  CHECK_EQ(count_descriptors(), before);
}

static bool mentions(const live_clone::Preflight &p, const std::string &text) {
  for (const auto &r : p.refusals)
    if (r.what.find(text) != std::string::npos) return true;
  return false;
}

static void refused_descriptor(int fd, const std::string &text) {
  if (fd < 0) fail(__FILE__, __LINE__, "can't be made here: " + text);
  refused(EOPNOTSUPP, "descriptor " + std::to_string(fd) + " is " + text);
  const auto mode = order().mode;
  CHECK(!live_clone::preflight(mode).can_clone && mentions(live_clone::preflight(mode), text));
  CHECK(mentions(live_clone::preflight_of(getpid(), mode), text));
  close(fd);
  CHECK(live_clone::preflight(mode).can_clone);
  clone_here();
}

TESTEE(refuses_userfaultfd) { refused_descriptor((int)syscall(SYS_userfaultfd, O_CLOEXEC), "a userfaultfd"); }
TESTEE(refuses_raw_socket) { refused_descriptor(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), "a raw socket"); }
TESTEE(refuses_packet_socket) { refused_descriptor(socket(AF_PACKET, SOCK_RAW, 0), "a packet socket"); }
TESTEE(refuses_fanotify) {
  const int fd = (int)syscall(SYS_fanotify_init, FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_CLOEXEC, O_RDONLY);
  if (fd < 0) return (void)clone_here();  // not every kernel and container allows it
  refused_descriptor(fd, "a fanotify group");
}

// The filter is that of one thread, which must be the only one: a thread that has another filter than the rest is refused too.
TESTEE(refuses_seccomp_listener_main) {
  sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  sock_fprog filter{1, &allow};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  const long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
  if (fd < 0) return (void)clone_here();
  refused_descriptor((int)fd, "a seccomp listener");
}

TESTEE(refuses_tunnel) { refused_descriptor(open("/dev/net/tun", O_RDWR), "a network tunnel"); }

TESTEE(refuses_libaio) {
  aio_context_t context = 0;
  CHECK(syscall(SYS_io_setup, 4, &context) == 0);
  refused(EOPNOTSUPP, "libaio");
  CHECK(mentions(live_clone::preflight(order().mode), "libaio"));
  CHECK(syscall(SYS_io_destroy, context) == 0);
  clone_here();
}

// The preflight and the plan use the same table of mappings, whatever the mappings' names and permissions.
TESTEE(refuses_secret_memory) {
  const int fd = (int)syscall(447 /* memfd_secret */, O_CLOEXEC);
  if (fd < 0) return (void)clone_here();  // not enabled in every kernel
  CHECK(ftruncate(fd, 4096) == 0);
  void *at = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
  CHECK(at != MAP_FAILED);
  close(fd);
  refused(EOPNOTSUPP, "secret memory");
  CHECK(mentions(live_clone::preflight(order().mode), "secret memory"));
  CHECK(mentions(live_clone::preflight_of(getpid(), order().mode), "secret memory"));
  munmap(at, 4096);
  clone_here();
}

TESTEE(refuses_thread_that_blocks_33) {
  std::atomic<int> step{0};
  std::atomic<int> tid{0};
  std::thread blocker([&] {
    unsigned long mask = 1ul << 32, none = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, 8);
    tid = gettid();
    step = 1;
    until([&] { return step == 2; });
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, 8);
    step = 3;
    until([&] { return step == 4; });
  });
  until([&] { return step == 1; });
  refused(ETIMEDOUT, "thread " + std::to_string(tid) + " ", 200);
  refused(ETIMEDOUT, "blocks signal 33", 200);
  step = 2;
  until([&] { return step == 3; });
  clone_here();  // the signals of the failed attempts have arrived meanwhile and done no harm
  step = 4;
  blocker.join();
}

TESTEE(waits_for_vfork) {
  std::atomic<bool> started{false};
  int go[2];
  CHECK(pipe(go) == 0);
  std::thread spawner([&] {
    started = true;
    const pid_t child = vfork();
    if (child == 0) {
      char c;
      syscall(SYS_read, go[0], &c, 1);
      _exit(0);
    }
    waitpid(child, nullptr, 0);
  });
  until([&] { return started.load(); });
  until([&] { return live_clone::preflight(order().mode).notes.size() > 0; });  // in the kernel
  refused(ETIMEDOUT, "vfork", 200);
  CHECK(write(go[1], "x", 1) == 1);
  spawner.join();
  clone_here();
}

TESTEE(refuses_when_traced) {
  int ready[2], done[2];
  CHECK(pipe(ready) == 0 && pipe(done) == 0);
  const pid_t master = getpid(), tracer = fork();
  if (tracer == 0) {
    char c = ptrace(PTRACE_SEIZE, master, nullptr, nullptr) == 0 ? 'y' : 'n';
    if (write(ready[1], &c, 1) != 1 || read(done[0], &c, 1) != 1) _exit(1);
    _exit(0);
  }
  char c = 0;
  CHECK(read(ready[0], &c, 1) == 1 && c == 'y');
  refused(EOPNOTSUPP, "traces this one");
  CHECK(write(done[1], "x", 1) == 1 && waitpid(tracer, nullptr, 0) == tracer);
  clone_here();
}

static void holds_mutex(int protocol, int robust, const std::string &text) {
  static pthread_mutex_t m;
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setprotocol(&a, protocol);
  pthread_mutexattr_setrobust(&a, robust);
  pthread_mutex_init(&m, &a);
  CHECK(pthread_mutex_lock(&m) == 0);
  refused(EOPNOTSUPP, text, 3000, false);
  CHECK(pthread_mutex_unlock(&m) == 0);
  clone_here();
}

TESTEE(refuses_priority_inheritance_mutex_plain) {
  holds_mutex(PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED, "a priority-inheritance mutex");
}
TESTEE(refuses_robust_mutex_plain) { holds_mutex(PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST, "a robust mutex"); }

TESTEE(refuses_with_too_little_address_space) {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit old;
  getrlimit(RLIMIT_AS, &old);
  const rlimit low{pages * (size_t)getpagesize() + (16u << 20), old.rlim_max};
  CHECK(setrlimit(RLIMIT_AS, &low) == 0);
  refused(ENOMEM, "RLIMIT_AS", 3000, false);
  CHECK(setrlimit(RLIMIT_AS, &old) == 0);
  clone_here();
}

// The limit does not apply to root, and counts all processes of a user: so become a user without others.
TESTEE(refuses_with_too_few_processes) {
  auto o = order();
  const int reaper = open(o.reaper_path.c_str(), O_PATH);  // its parent folders may be root's
  o.reaper_path = "/proc/self/fd/" + std::to_string(reaper);
  if (geteuid() == 0) {
    CHECK(setresgid(64123, 64123, 64123) == 0 && setresuid(64123, 64123, 64123) == 0);
    CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);  // else /proc/self is root's
  }
  rlimit old;
  getrlimit(RLIMIT_NPROC, &old);
  const auto fails_with = [&](rlim_t limit) {
    const rlimit low{limit, old.rlim_max};
    CHECK(setrlimit(RLIMIT_NPROC, &low) == 0);
    const auto r = live_clone::clone(o);
    CHECK(r.index < 0);
    CHECK_EQ(r.err, EAGAIN);
    if (r.message.find("the limit of processes") == std::string::npos) fail(__FILE__, __LINE__, r.message);
  };
  fails_with(1);
  if (geteuid() == 64123) {  // starter, reaper and clone, three times
    const auto threads = std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
    for (const int more : {1, 2, 3, 4})
      fails_with(rlim_t(threads + more));  // some threads have been made already
  }
  CHECK(setrlimit(RLIMIT_NPROC, &old) == 0);
  clone_here(o);
}

// A filter is permanent, so this process can never clone. The program itself must go on as before.
TESTEE(refuses_under_seccomp) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execveat, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog filter{sizeof code / sizeof *code, code};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0);
  std::atomic<bool> stop{false};
  std::thread other([&] { until([&] { return stop.load(); }); });
  refused(EPERM, "gc-reaper can't be executed", 3000, false);
  refused(EPERM, "seccomp", 3000, false);
  stop = true;
  other.join();
}

TESTEE(refuses_bad_orders) {
  auto o = order();
  const auto fails = [](const live_clone::Order &bad, int err, const std::string &text) {
    const auto r = live_clone::clone(bad);
    CHECK(r.index == -1);
    CHECK_EQ(r.err, err);
    if (r.message.find(text) == std::string::npos) fail(__FILE__, __LINE__, r.message);
  };
  auto bad = o;
  bad.addresses.clear();
  fails(bad, EINVAL, "0 clones ordered");
  bad.addresses.assign(1025, 0x7f000002);
  fails(bad, EINVAL, "1025 clones ordered");
  bad.addresses.assign(1, 0x0a000001);
  fails(bad, EINVAL, "127.0.0.0/8");
  bad = o;
  bad.lifeline = 12345;
  fails(bad, EINVAL, "lifeline");
  bad = o;
  bad.reaper_path = "/nonexistent/gc-reaper";
  fails(bad, ENOENT, "/nonexistent/gc-reaper");
  bad = o;
  bad.park_timeout_ms = 0;
  fails(bad, EINVAL, "park_timeout_ms");
  clone_here();
}

TESTEE(preflight_of_others) {
  CHECK_EQ(live_clone::preflight_of(1 << 30, order().mode).refusals.at(0).err, ESRCH);
  const auto p = live_clone::preflight(order().mode);
  CHECK(p.can_clone && p.threads >= 1 && p.descriptors >= 3);
  clone_here();
}

static void *last_thread(void *) {
  until([] { return live_clone::preflight(live_clone::Mode::plain).refusals.size() > 0; });
  refused(EOPNOTSUPP, "main thread has ended");
  puts("master ok");
  exit(0);
}

TESTEE(refuses_without_main_thread_main) {
  pthread_t t;
  CHECK(pthread_create(&t, nullptr, last_thread, nullptr) == 0);
  pthread_exit(nullptr);
}
