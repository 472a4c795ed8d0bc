// Pipes, FIFOs and pseudo-terminals: which are inside, which stay shared, which become dead ends (pipes.cpp and ptys.cpp of
// core/live_clone).
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "testee.hpp"

using namespace testee;

namespace {

// A child of the master's, at the other end of a descriptor. Clones have no such child.
template <typename Body>
pid_t outside(Body body) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    body();
    _exit(0);
  }
  return child;
}

void reap(int index, pid_t child) {
  if (index == 0) CHECK(waitpid(child, nullptr, 0) == child);
}

bool same_pipe(int a, int b) {
  struct stat x, y;
  CHECK(fstat(a, &x) == 0 && fstat(b, &y) == 0);
  return x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

short events(int fd, short wanted) {
  pollfd p{fd, wanted, 0};
  CHECK(poll(&p, 1, 0) >= 0);
  return p.revents;
}

void reads_end_of_file(int fd) {
  char c;
  CHECK_EQ(read(fd, &c, 1), 0);
  CHECK(events(fd, POLLIN) & POLLHUP);
}

void refuses_writes(int fd) {
  signal(SIGPIPE, SIG_IGN);
  CHECK(write(fd, "x", 1) == -1 && errno == EPIPE);
  CHECK(events(fd, POLLOUT) & POLLERR);
}

std::string fifo() {
  char folder[] = "/tmp/live-clone-testee-XXXXXX";
  CHECK(mkdtemp(folder));
  const std::string path = std::string(folder) + "/fifo";
  CHECK(mkfifo(path.c_str(), 0600) == 0);
  return path;
}

void remove_fifo(const std::string &path) {
  unlink(path.c_str());
  rmdir(path.substr(0, path.rfind('/')).c_str());
}

// The master side; `number` opens the other one.
int pty_master(char *name, size_t size) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0 && ptsname_r(master, name, size) == 0);
  return master;
}

}  // namespace

TESTEE(pipe_keeps_its_bytes) {
  int small[2], full[2];
  CHECK(pipe(small) == 0 && pipe2(full, O_NONBLOCK | O_CLOEXEC) == 0);
  CHECK(fcntl(full[1], F_SETPIPE_SZ, 1 << 18) == 1 << 18);
  CHECK(write(small[1], "abc", 3) == 3);
  std::vector<char> block(1 << 18, 'x');
  CHECK(write(full[1], block.data(), block.size()) == (ssize_t)block.size());
  const int writer = dup(small[1]);
  clone_here();
  char text[16] = {};
  CHECK(read(small[0], text, sizeof text) == 3 && !strcmp(text, "abc"));
  CHECK(write(writer, "d", 1) == 1 && read(small[0], text, sizeof text) == 1 && text[0] == 'd');
  int waiting = 0;
  CHECK(ioctl(full[0], FIONREAD, &waiting) == 0);
  CHECK_EQ(waiting, 1 << 18);
  CHECK(write(full[1], "y", 1) == -1 && errno == EAGAIN);
  CHECK(fcntl(full[0], F_GETFD) == FD_CLOEXEC && fcntl(small[0], F_GETFD) == 0);
  close(small[1]);
  close(writer);
  CHECK(read(small[0], text, 1) == 0);  // end of file: no other process holds the writing end
}

TESTEE(pipe_opened_several_times_stays_one_pipe) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  const std::string name = "/proc/self/fd/" + std::to_string(ends[0]);
  const int again = open(name.c_str(), O_RDONLY | O_NONBLOCK),
            writer = open(name.c_str(), O_WRONLY | O_NONBLOCK), both = open(name.c_str(), O_RDWR);
  CHECK(again >= 0 && writer >= 0 && both >= 0 && write(both, "abc", 3) == 3);
  clone_here();
  char c = 0;
  CHECK(read(again, &c, 1) == 1 && c == 'a' && read(ends[0], &c, 1) == 1 && c == 'b');
  CHECK(read(both, &c, 1) == 1 && c == 'c');
  CHECK(read(again, &c, 1) == -1 && errno == EAGAIN);
  CHECK(write(writer, "d", 1) == 1 && read(both, &c, 1) == 1 && c == 'd');
  CHECK((fcntl(writer, F_GETFL) & O_NONBLOCK) && !(fcntl(ends[1], F_GETFL) & O_NONBLOCK));
}

TESTEE(pipe_of_standard_output_stays_shared) {
  const int out = dup(1), again = open("/proc/self/fd/1", O_WRONLY | O_CLOEXEC);
  CHECK(again >= 0 && same_pipe(1, again));
  const auto before = [&] {
    struct stat st;
    CHECK(fstat(1, &st) == 0);
    return st.st_ino;
  }();
  clone_here();
  struct stat now;
  CHECK(fstat(1, &now) == 0 && now.st_ino == before);
  CHECK(same_pipe(1, out) && same_pipe(1, again));
  CHECK(!(events(again, POLLOUT) & POLLERR));
}

// A clone's standard output goes where the master's goes, although the reader is inside the process.
TESTEE(reader_of_standard_output_is_a_dead_end) {
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0 && dup2(ends[1], 0) == 0);  // 0: the driver reads 1 and 2
  close(ends[1]);
  const int index = clone_here();
  const char mine = char('0' + index);
  CHECK(write(0, &mine, 1) == 1);
  if (index) return reads_end_of_file(ends[0]);
  int seen = 0;
  for (char c; seen != 0xf; seen |= 1 << (c - '0')) CHECK(read(ends[0], &c, 1) == 1 && c >= '0' && c <= '3');
}

TESTEE(reader_of_a_child_loses_nothing) {
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  const pid_t child = outside([&] {
    for (uint32_t i = 0; i < 20000; i++)
      if (write(ends[1], &i, sizeof i) != sizeof i) _exit(1);
  });
  close(ends[1]);
  std::atomic<uint32_t> got{0};
  std::atomic<bool> over{false}, wrong{false};
  std::thread reader([&] {
    uint32_t v;
    while (read(ends[0], &v, sizeof v) == sizeof v)
      if (v != got++) wrong = true;
    over = true;
  });
  until([&] { return got > 100; });
  const int index = clone_here();
  until([&] { return over.load(); });
  reader.join();
  CHECK(!wrong);
  if (index == 0) CHECK_EQ(got.load(), 20000u);
  if (index) reads_end_of_file(ends[0]);
  reap(index, child);
}

TESTEE(pipes_to_a_child_are_dead_ends) {
  int to[2], from[2];
  CHECK(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
  const pid_t child = outside([&] {
    close(to[1]);
    char c;
    while (read(to[0], &c, 1) == 1)
      if (write(from[1], &c, 1) != 1) _exit(1);
  });
  close(to[0]);
  close(from[1]);
  CHECK(fcntl(from[0], F_SETFL, O_NONBLOCK) == 0);
  const int copy = dup(from[0]);
  CHECK(write(to[1], "a", 1) == 1);
  const int index = clone_here();
  if (index) {
    reads_end_of_file(from[0]);
    reads_end_of_file(copy);
    refuses_writes(to[1]);
    CHECK(fcntl(from[0], F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(to[1], F_GETFD) == FD_CLOEXEC && fcntl(copy, F_GETFD) == 0);
    return;
  }
  char text[4] = {};
  CHECK(write(to[1], "b", 1) == 1);
  CHECK(fcntl(from[0], F_SETFL, 0) == 0);
  close(to[1]);  // no clone keeps it open: the child reads end-of-file
  for (int n = 0; n < 2; n++) CHECK(read(from[0], text + n, 1) == 1);
  CHECK(!strcmp(text, "ab"));
  reap(index, child);
}

TESTEE(pipe_that_a_child_inherited_stays_connected) {
  int ends[2], hold[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0 && pipe2(hold, O_CLOEXEC) == 0 && write(ends[1], "a", 1) == 1);
  const pid_t child = outside([&] {
    char c;
    close(hold[1]);
    (void)!read(hold[0], &c, 1);
  });
  const int index = clone_here();
  char c = 0;
  CHECK(read(ends[0], &c, 1) == 1 && c == 'a');
  CHECK(write(ends[1], "b", 1) == 1 && read(ends[0], &c, 1) == 1 && c == 'b');
  close(hold[1]);
  reap(index, child);
}

TESTEE(fifos_to_the_outside_are_dead_ends) {
  const std::string requests = fifo(), answers = fifo();
  const pid_t child = outside([&] {
    const int in = open(requests.c_str(), O_RDONLY), out = open(answers.c_str(), O_WRONLY);
    char c;
    while (read(in, &c, 1) == 1)
      if (write(out, &c, 1) != 1) _exit(1);
  });
  const int out = open(requests.c_str(), O_WRONLY | O_CLOEXEC),
            in = open(answers.c_str(), O_RDONLY | O_CLOEXEC);
  CHECK(write(out, "a", 1) == 1);
  const int index = clone_here();
  if (index) {
    reads_end_of_file(in);
    refuses_writes(out);
    return;
  }
  char text[4] = {};
  CHECK(write(out, "b", 1) == 1);
  close(out);
  for (int n = 0; n < 2; n++) CHECK(read(in, text + n, 1) == 1);
  CHECK(!strcmp(text, "ab"));
  reap(index, child);
  remove_fifo(requests);
  remove_fifo(answers);
}

// A daemon that reads commands from a FIFO: commands after the clone go to the master.
TESTEE(fifo_held_at_both_ends_becomes_the_clones_own) {
  const std::string path = fifo(), other = fifo();
  const int both = open(path.c_str(), O_RDWR | O_CLOEXEC),
            reader = open(other.c_str(), O_RDONLY | O_NONBLOCK), writer = open(other.c_str(), O_WRONLY);
  CHECK(both >= 0 && reader >= 0 && writer >= 0);
  CHECK(write(both, "a", 1) == 1 && write(writer, "b", 1) == 1);
  const int index = clone_here();
  char c = 0;
  CHECK(read(both, &c, 1) == 1 && c == 'a' && read(reader, &c, 1) == 1 && c == 'b');
  const char mine = char('0' + index);
  CHECK(write(both, &mine, 1) == 1 && read(both, &c, 1) == 1 && c == mine);
  CHECK(write(writer, &mine, 1) == 1 && read(reader, &c, 1) == 1 && c == mine);
  if (index) return;
  const int command = open(path.c_str(), O_WRONLY);
  CHECK(write(command, "c", 1) == 1 && read(both, &c, 1) == 1 && c == 'c');
  remove_fifo(path);
  remove_fifo(other);
}

TESTEE(pty_master_is_a_dead_end) {
  char name[64];
  int ready[2];
  const int master = pty_master(name, sizeof name);
  CHECK(pipe2(ready, O_CLOEXEC) == 0);
  const pid_t child = outside([&] {
    const int tty = open(name, O_RDWR | O_NOCTTY);
    termios raw{};
    tcgetattr(tty, &raw);
    cfmakeraw(&raw);
    tcsetattr(tty, TCSANOW, &raw);
    (void)!write(ready[1], "r", 1);
    char c;
    close(master);
    while (read(tty, &c, 1) == 1 && c != '.')
      if (write(tty, &c, 1) != 1) _exit(1);
  });
  char c = 0;
  CHECK(read(ready[0], &c, 1) == 1);
  std::atomic<int> got{0};
  std::thread reader([&] {
    char c;
    while (read(master, &c, 1) == 1) got++;
  });
  CHECK(write(master, "ab", 2) == 2);
  until([&] { return got == 2; });
  const int index = clone_here();
  if (index) {
    reader.join();
    reads_end_of_file(master);
    CHECK(write(master, "x", 1) == -1 && errno == EIO);
    return;
  }
  CHECK(write(master, "cdefgh.", 7) == 7);
  reader.join();  // the child has ended
  CHECK_EQ(got.load(), 8);
  reap(index, child);
}

TESTEE(pty_with_both_sides_stays_connected) {
  char name[64];
  const int master = pty_master(name, sizeof name), tty = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC),
            copy = dup(tty);
  termios settings{};
  CHECK(tcgetattr(tty, &settings) == 0);
  cfmakeraw(&settings);
  CHECK(tcsetattr(tty, TCSANOW, &settings) == 0);
  const int index = clone_here();
  const std::string mine = "of " + std::to_string(index);
  char text[16] = {};
  CHECK(write(master, mine.data(), mine.size()) == 4 && read(copy, text, sizeof text) == 4 && text == mine);
  CHECK(write(tty, mine.data(), mine.size()) == 4 && read(master, text, sizeof text) == 4 && text == mine);
  CHECK(tcgetattr(copy, &settings) == 0 && !(settings.c_lflag & ICANON));
}
