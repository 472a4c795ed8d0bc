// Descriptors that are neither sockets, pipes nor files: every row of the table in core/live_clone/descriptors.cpp.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "testee.hpp"

using namespace testee;

static int file_in_memory() {
  char path[] = "/dev/shm/live-clone-testee-XXXXXX";
  const int fd = mkstemp(path);
  CHECK(fd >= 0 && unlink(path) == 0);
  return fd;
}

TESTEE(eventfd_keeps_its_count) {
  const int plain = eventfd(5, EFD_NONBLOCK), semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK),
            copy = dup(plain);
  clone_here();
  uint64_t v = 0;
  CHECK(read(plain, &v, 8) == 8 && v == 5);
  CHECK(read(plain, &v, 8) == -1 && errno == EAGAIN);  // flags kept; no other process's writes arrive
  CHECK(read(semaphore, &v, 8) == 8 && v == 1);
  v = 7;
  CHECK(write(copy, &v, 8) == 8 && read(plain, &v, 8) == 8 && v == 7);  // still duplicates of each other
  CHECK(fcntl(copy, F_GETFD) == 0);
}

TESTEE(pidfds_of_children_are_dead_ends) {
  const auto open_pidfd = [](pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); };
  const auto send = [](int pidfd, int signal) {
    return syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0);
  };
  constexpr auto by_pidfd = static_cast<idtype_t>(3);  // P_PIDFD, which glibc knows since 2.36
  int gate[2];
  CHECK(pipe(gate) == 0);
  const pid_t child = fork();
  if (child == 0) {
    char byte;
    _exit(close(gate[1]) == 0 && read(gate[0], &byte, 1) == 0 ? 7 : 1);
  }
  const int of_child = open_pidfd(child), copy = dup(of_child), own = open_pidfd(getpid()),
            of_parent = open_pidfd(getppid());
  CHECK(of_child >= 0 && own >= 0 && of_parent >= 0);
  siginfo_t ended{};
  if (clone_here() > 0) {
    for (const int fd : {of_child, copy}) {
      CHECK(has_input(fd));
      CHECK(send(fd, SIGKILL) == -1 && errno == ESRCH);
      CHECK(waitid(by_pidfd, (id_t)fd, &ended, WEXITED) == -1 && errno == ECHILD);
    }
    CHECK(!has_input(own) && send(own, 0) == 0 && !has_input(of_parent));
    return;
  }
  wait_for_clones();
  CHECK(!has_input(of_child) && send(of_child, 0) == 0);
  close(gate[1]);
  CHECK(waitid(by_pidfd, (id_t)of_child, &ended, WEXITED) == 0 && ended.si_status == 7);
}

TESTEE(directory_is_kept) {
  const int fd = open("/tmp", O_RDONLY | O_DIRECTORY), path = open("/tmp", O_PATH);
  clone_here();
  CHECK(faccessat(fd, ".", R_OK, 0) == 0 && faccessat(path, ".", R_OK, 0) == 0);
}

TESTEE(timerfd_goes_on) {
  const int once = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), fired = timerfd_create(CLOCK_REALTIME, 0),
            idle = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK);
  itimerspec soon{{0, 0}, {0, 1}}, later{{3, 0}, {100, 0}};
  CHECK(timerfd_settime(fired, 0, &soon, nullptr) == 0 && timerfd_settime(once, 0, &later, nullptr) == 0);
  until([&] { return has_input(fired); });
  clone_here();
  itimerspec now{};
  CHECK(timerfd_gettime(once, &now) == 0 && now.it_value.tv_sec >= 50 && now.it_value.tv_sec < 100);
  CHECK_EQ(now.it_interval.tv_sec, 3);
  uint64_t ticks = 0;
  CHECK(read(fired, &ticks, 8) == 8 && ticks == 1);
  CHECK(read(idle, &ticks, 8) == -1 && errno == EAGAIN);
  CHECK(timerfd_settime(once, 0, &soon, nullptr) == 0);
  until([&] { return has_input(once); });
}

TESTEE(signalfd_receives) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  const int fd = signalfd(-1, &set, SFD_NONBLOCK);
  clone_here();
  signalfd_siginfo info{};
  CHECK(read(fd, &info, sizeof info) == -1 && errno == EAGAIN);
  CHECK(pthread_kill(pthread_self(), SIGUSR2) == 0);
  CHECK(read(fd, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR2);
}

TESTEE(epoll_set_is_rebuilt) {
  const int set = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(0), event = eventfd(0, EFD_NONBLOCK);
  int ends[2];
  CHECK(pipe(ends) == 0);
  std::vector<int> many;
  for (int i = 0; i < 300; i++) {
    many.push_back(eventfd(0, 0));
    epoll_event e{EPOLLIN | EPOLLET, {.u64 = 0x100000000u + uint64_t(i)}};
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, many.back(), &e) == 0);
  }
  epoll_event e{EPOLLIN, {.u64 = 0xfeedfacecafebeefu}};
  CHECK(epoll_ctl(set, EPOLL_CTL_ADD, event, &e) == 0);
  e.data.u64 = 7;
  CHECK(epoll_ctl(outer, EPOLL_CTL_ADD, set, &e) == 0);
  const int closed = eventfd(0, 0),
            survivor = dup(closed);  // a registration whose descriptor number is reused
  CHECK(epoll_ctl(set, EPOLL_CTL_ADD, closed, &e) == 0);
  close(closed);
  CHECK(eventfd(0, 0) == closed);
  clone_here();
  CHECK(degraded("epoll"));
  epoll_event got{};
  CHECK_EQ(epoll_wait(set, &got, 1, 0), 0);
  const uint64_t one = 1;
  CHECK(write(event, &one, 8) == 8);
  CHECK_EQ(epoll_wait(set, &got, 1, 0), 1);
  CHECK(got.data.u64 == 0xfeedfacecafebeefu);
  CHECK(epoll_wait(outer, &got, 1, 0) == 1 && got.data.u64 == 7);
  CHECK(write(many[299], &one, 8) == 8);
  epoll_event both[4];
  CHECK_EQ(epoll_wait(set, both, 4, 0), 2);
  CHECK(fcntl(survivor, F_GETFD) == 0);
}

TESTEE(memfd_is_copied) {
  const int fd = memfd_create("testee", MFD_ALLOW_SEALING),
            sealed = memfd_create("sealed", MFD_ALLOW_SEALING);
  const size_t size = 1 << 20;
  CHECK(ftruncate(fd, size) == 0 && write(sealed, "constant", 8) == 8);
  CHECK(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0);
  const auto map = [&](int protection) { return (char *)mmap(nullptr, size, protection, MAP_SHARED, fd, 0); };
  char *a = map(PROT_READ | PROT_WRITE), *b = map(PROT_READ | PROT_WRITE), *code = map(PROT_READ | PROT_EXEC);
  strcpy(a + 5000, "original");
  CHECK(lseek(fd, 11, SEEK_SET) == 11);
  const int index = clone_here();
  CHECK(!strcmp(b + 5000, "original"));
  CHECK_EQ(lseek(fd, 0, SEEK_CUR), 11);
  const std::string mine = "of " + std::to_string(index);
  strcpy(a + 5000, mine.c_str());
  char text[32] = {};
  CHECK(pread(fd, text, sizeof text - 1, 5000) > 0 && text == mine);
  until([] { return true; });
  CHECK(b + 5000 == mine && code + 5000 == mine);
  CHECK(fcntl(fd, F_GET_SEALS) == F_SEAL_GROW);
  CHECK(pread(sealed, text, 8, 0) == 8 && !memcmp(text, "constant", 8));
}

TESTEE(shared_memory_is_copied) {
  const size_t size = 1 << 22;
  char *anonymous = (char *)mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char *again = (char *)mremap(anonymous, 0, size, MREMAP_MAYMOVE);  // a second mapping of the same pages
  const int fd = file_in_memory();
  CHECK(again != MAP_FAILED && ftruncate(fd, 8192) == 0);
  char *file = (char *)mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  strcpy(anonymous + 4096 * 700, "original");
  strcpy(file + 4096, "unlinked");
  mprotect(anonymous, 4096, PROT_NONE);
  const int index = clone_here();
  CHECK(!strcmp(anonymous + 4096 * 700, "original") && !strcmp(file + 4096, "unlinked"));
  const std::string mine = "of " + std::to_string(index);
  strcpy(anonymous + 4096 * 700, mine.c_str());
  strcpy(file + 4096, mine.c_str());
  char text[16] = {};
  CHECK(pread(fd, text, 8, 4096) > 0 && text == mine);
  CHECK(again + 4096 * 700 == mine);
  if (!index) wait_for_clones();
  CHECK(anonymous + 4096 * 700 == mine && file + 4096 == mine);
}

TESTEE(five_thousand_descriptors) {
  std::vector<int> all;
  for (int i = 0; i < 2500; i++) {
    all.push_back(eventfd((unsigned)i, EFD_NONBLOCK));
    if (all.back() < 0) fail(__FILE__, __LINE__, "this test needs 5000 descriptors: ulimit -n");
    all.push_back(dup(all.back()));
  }
  clone_here();
  for (size_t i = 0; i < all.size(); i += 499) {
    uint64_t v = 0;
    if (i / 2 == 0) continue;
    CHECK(read(all[i], &v, 8) == 8);
    CHECK_EQ(v, uint64_t(i / 2));
    CHECK(read(all[i ^ 1], &v, 8) == -1 && errno == EAGAIN);
  }
}
