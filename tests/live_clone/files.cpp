// Regular files: offsets, flags, mappings and locks (files.cpp, file_locks.cpp and memory.cpp of core/live_clone).
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "testee.hpp"

using namespace testee;

namespace {

int temporary_file(std::string *name = nullptr) {
  char path[] = "/tmp/live-clone-testee-XXXXXX";
  const int fd = mkstemp(path);
  CHECK(fd >= 0);
  if (name)
    *name = path;
  else
    unlink(path);
  return fd;
}

struct flock range(short type, off_t start, off_t length) {
  struct flock r {};
  r.l_type = type;
  r.l_whence = SEEK_SET;
  r.l_start = start;
  r.l_len = length;
  return r;
}

bool lock(int fd, short type, off_t start, off_t length, int command = F_SETLK) {
  struct flock r = range(type, start, length);
  return fcntl(fd, command, &r) == 0;
}

// Could a process that holds no lock take it? Only asks, so processes that ask at the same time do not disturb each other.
bool others_may_lock(const std::string &path, short type, off_t start, off_t length) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    const int fd = open(path.c_str(), O_RDWR);
    struct flock r = range(type, start, length);
    _exit(fd >= 0 && fcntl(fd, F_GETLK, &r) == 0 && r.l_type == F_UNLCK ? 0 : 1);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
  return WEXITSTATUS(status) == 0;
}

// A mapped file on a disk, which master and clones share, to tell each other their progress.
struct Board {
  std::atomic<int> step{0}, done{0};
};

Board *board() {
  const int fd = temporary_file();
  CHECK(ftruncate(fd, sizeof(Board)) == 0);
  void *p = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(p != MAP_FAILED);
  close(fd);
  return new (p) Board;
}

}  // namespace

TESTEE(file_has_an_offset_of_its_own) {
  std::string name;
  const int fd = temporary_file(&name), unlinked = temporary_file();
  CHECK(write(fd, "0123456789", 10) == 10 && lseek(fd, 3, SEEK_SET) == 3);
  CHECK(write(unlinked, "abcdef", 6) == 6 && lseek(unlinked, 2, SEEK_SET) == 2);
  const int copy = dup(fd), append = open(name.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  unlink(name.c_str());
  const int index = clone_here();
  CHECK_EQ(lseek(fd, 0, SEEK_CUR), 3);
  const int mine = index + 4;
  CHECK_EQ(lseek(fd, mine, SEEK_SET), mine);
  char c = 0;
  CHECK_EQ(lseek(copy, 0, SEEK_CUR), mine);
  CHECK(read(copy, &c, 1) == 1);
  CHECK_EQ(int(c), '0' + mine);
  CHECK(read(unlinked, &c, 1) == 1 && c == 'c');
  CHECK((fcntl(append, F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_WRONLY | O_APPEND));
  CHECK(fcntl(append, F_GETFD) == FD_CLOEXEC);
}

TESTEE(flags_that_make_a_file_are_not_used_again) {
  std::string name;
  close(temporary_file(&name));
  unlink(name.c_str());
  const int made = open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW, 0600),
            nameless = open("/tmp", O_RDWR | O_TMPFILE | O_APPEND, 0600);
  CHECK(made >= 0 && nameless >= 0);
  for (int fd : {made, nameless}) CHECK(write(fd, "0123456789", 10) == 10 && lseek(fd, 3, SEEK_SET) == 3);
  const int index = clone_here();
  for (int fd : {made, nameless}) {
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 3);
    CHECK_EQ(lseek(fd, 4 + index, SEEK_SET), 4 + index);
  }
  if (!index) wait_for_clones();
  for (int fd : {made, nameless}) {
    char c = 0;
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 4 + index);
    CHECK(read(fd, &c, 1) == 1 && c == '4' + index);
  }
  CHECK(fcntl(nameless, F_GETFL) & O_APPEND);
  unlink(name.c_str());
}

TESTEE(mapping_of_a_file_on_a_disk_stays_that_file) {
  std::string name;
  const int named = temporary_file(&name), unlinked = temporary_file(),
            nameless = open("/tmp", O_RDWR | O_TMPFILE, 0600);
  std::vector<int> files = {named, unlinked, nameless};
  std::vector<char *> maps;
  for (int fd : files) {
    CHECK(fd >= 0 && ftruncate(fd, 8192) == 0);
    maps.push_back((char *)mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    CHECK(maps.back() != MAP_FAILED);
    memcpy(maps.back(), "master", 6);
  }
  close(unlinked);  // only the mapping is left
  const int index = clone_here();
  for (char *map : maps) {
    CHECK(!memcmp(map, "master", 6));
    map[4096 + index] = char('0' + index);
  }
  char c = 0;
  for (int fd : {named, nameless}) CHECK(pread(fd, &c, 1, 4096 + index) == 1 && c == '0' + index);
  if (index) return;
  wait_for_clones();
  for (char *map : maps) CHECK(!memcmp(map + 4096, "0123", 4));
  unlink(name.c_str());
}

TESTEE(locked_file_in_memory_stays_that_file) {
  char path[] = "/dev/shm/live-clone-testee-XXXXXX";
  const int fd = mkstemp(path);
  CHECK(fd >= 0 && ftruncate(fd, 4096) == 0 && lock(fd, F_RDLCK, 128, 1));
  char *map = (char *)mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED);
  const int index = clone_here();
  map[index] = char('0' + index);
  if (index) return;
  wait_for_clones();
  CHECK(!memcmp(map, "0123", 4));
  unlink(path);
}

TESTEE(shared_locks_are_taken_again) {
  std::string posix, open_file, flocked;
  const int a = temporary_file(&posix), b = temporary_file(&open_file), c = temporary_file(&flocked);
  CHECK(lock(a, F_RDLCK, 120, 3) && lock(a, F_RDLCK, 0x40000002, 510) && lock(a, F_RDLCK, 1L << 40, 0));
  CHECK(lock(b, F_RDLCK, 5, 1, F_OFD_SETLK) && flock(c, LOCK_SH) == 0);
  Board *board = ::board();
  const int index = clone_here();
  if (!index) {  // only the clones hold them from here on
    CHECK(lock(a, F_UNLCK, 0, 0) && lock(b, F_UNLCK, 0, 0, F_OFD_SETLK) && flock(c, LOCK_UN) == 0);
    board->step = 1;
  }
  until([&] { return board->step == 1; });
  CHECK(!others_may_lock(posix, F_WRLCK, 121, 1) && !others_may_lock(posix, F_WRLCK, 0x40000002, 1) &&
        !others_may_lock(posix, F_WRLCK, 1L << 41, 1));
  CHECK(others_may_lock(posix, F_WRLCK, 119, 1) && others_may_lock(posix, F_WRLCK, 123, 1) &&
        others_may_lock(posix, F_RDLCK, 121, 1));
  CHECK(!others_may_lock(open_file, F_WRLCK, 5, 1));
  const int other = open(flocked.c_str(), O_RDWR);
  CHECK(flock(other, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
  CHECK(!degraded("lock"));
  board->done++;
  until([&] { return board->done == 4; });
  if (index) return;
  wait_for_clones();
  CHECK(others_may_lock(posix, F_WRLCK, 0, 0) && others_may_lock(open_file, F_WRLCK, 0, 0));
  for (const std::string &name : {posix, open_file, flocked}) unlink(name.c_str());
}

// Several threads begin and end transactions: no process sees one in progress.
TESTEE(transaction_is_waited_for) {
  const int fd = temporary_file();
  std::atomic<bool> inside{false}, over{false};
  std::atomic<int> rounds{0};
  std::thread writer([&] {
    while (!over) {
      CHECK(lock(fd, F_WRLCK, 120, 1, F_SETLKW));  // clones are other processes, with transactions too
      inside = true;
      timespec work{0, 3'000'000}, rest{0, 1'000'000};
      nanosleep(&work, nullptr);
      inside = false;
      CHECK(lock(fd, F_UNLCK, 120, 1));
      nanosleep(&rest, nullptr);
      rounds++;
    }
  });
  until([&] { return inside.load(); });
  clone_here();
  const int seen = rounds;
  until([&] { return rounds > seen + 3; });
  over = true;
  writer.join();
}

TESTEE(unfinished_transaction_is_refused_with_its_path) {
  std::string name;
  const int fd = temporary_file(&name);
  CHECK(lock(fd, F_WRLCK, 120, 1));
  const auto result = refused_as_foretold(order());
  CHECK_EQ(result.index, -1);
  CHECK_EQ(result.err, EBUSY);
  CHECK(result.message.find(name) != std::string::npos &&
        result.message.find("transaction") != std::string::npos);
  CHECK(!others_may_lock(name, F_RDLCK, 120, 1));  // it is still the master's
  CHECK(lock(fd, F_UNLCK, 120, 1));
  clone_here();
  unlink(name.c_str());
}

// The advice after the path is always there, however long the path is; it is cut between characters.
TESTEE(advice_stays_behind_a_long_path) {
  char folder[] = "/tmp/live-clone-testee-XXXXXX";
  CHECK(mkdtemp(folder));
  std::string name = folder;
  for (int i = 0; i < 8; i++) {
    name += "/";
    for (int k = 0; k < 60; k++) name += "\u00e9";
    if (i < 7) CHECK(mkdir(name.c_str(), 0700) == 0);
  }
  const int fd = open(name.c_str(), O_RDWR | O_CREAT, 0600);
  CHECK(fd >= 0 && lock(fd, F_WRLCK, 120, 1));
  const auto result = refused_as_foretold(order());
  CHECK_EQ(result.err, EBUSY);
  CHECK(result.message.find(folder) != std::string::npos);
  CHECK(result.message.ends_with("commit, roll back or close it first"));
  for (size_t i = 0; i < result.message.size(); i++)
    if (result.message[i] == '\xc3') CHECK(result.message.substr(i, 2) == "\u00e9");
  CHECK(lock(fd, F_UNLCK, 120, 1) && lock(fd, F_WRLCK, 0, 0));
  clone_here();
  CHECK(degraded("in clones the file is read-only"));
  if (outcome().index) return;
  wait_for_clones();
  unlink(name.c_str());
  for (; name != folder; name.resize(name.rfind('/'))) rmdir(name.c_str());
  rmdir(folder);
}

TESTEE(owned_files_are_read_only_in_clones) {
  std::string whole, flocked;
  const int a = temporary_file(&whole), b = temporary_file(&flocked);
  const std::string log_name = whole + ".wal", other_name = whole + "x";
  const int log = open(log_name.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600),
            other = open(other_name.c_str(), O_RDWR | O_CREAT, 0600), again = open(flocked.c_str(), O_RDWR);
  for (int fd : {a, b, log, other}) CHECK(write(fd, "data", 4) == 4);
  CHECK(lock(a, F_WRLCK, 0, 0) && flock(b, LOCK_EX) == 0);
  const int index = clone_here();
  CHECK(degraded("lock") && degraded(whole) && degraded(flocked));
  char c = 0;
  for (int fd : {a, b, again}) {
    CHECK(pread(fd, &c, 1, 0) == 1 && c == 'd');
    CHECK(index ? pwrite(fd, "x", 1, 0) == -1 && errno == EBADF : pwrite(fd, "d", 1, 0) == 1);
  }
  CHECK(index ? write(log, "x", 1) == -1 && errno == EBADF : write(log, "x", 1) == 1);
  CHECK(write(other, "x", 1) == 1);
  if (index) return;
  wait_for_clones();
  CHECK(!others_may_lock(whole, F_WRLCK, 0, 0));
  for (const std::string &name : {whole, flocked, log_name, other_name}) unlink(name.c_str());
}

TESTEE(file_called_lock_stands_for_its_folder) {
  char folder[] = "/tmp/live-clone-testee-XXXXXX";
  CHECK(mkdtemp(folder));
  const std::string guard = std::string(folder) + "/LOCK", table = std::string(folder) + "/000003.log";
  const int a = open(guard.c_str(), O_RDWR | O_CREAT, 0600),
            b = open(table.c_str(), O_WRONLY | O_CREAT, 0600);
  CHECK(lock(a, F_WRLCK, 0, 0));
  const int index = clone_here();
  CHECK(index ? write(b, "x", 1) == -1 && errno == EBADF : write(b, "x", 1) == 1);
  if (index) return;
  for (const std::string &name : {guard, table}) unlink(name.c_str());
  rmdir(folder);
}
