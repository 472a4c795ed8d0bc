// close() and its relatives, as the program's calls come here first: a program that closes all descriptors it does not know when it
// starts, as daemons do, keeps those of the guest library, as if they were not there. A child that is about to execute something
// loses them then.
// It must not know: what they lead to.
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/guest/connection.hpp"

namespace gridcentric::preload {
namespace {

using Close = int (*)(int);

// Found before main(): a signal handler may be the first to close something.
const auto close_of_libc = reinterpret_cast<Close>(::dlsym(RTLD_NEXT, "close"));

// Of libc, as it can be cancelled; the system's for a caller before that.
int real_close(int fd) {
  return close_of_libc != nullptr ? close_of_libc(fd) : static_cast<int>(::syscall(SYS_close, fd));
}

int close_between(unsigned first, unsigned last, int flags) {
  for (unsigned from = first;;) {
    const unsigned kept = guest::next_kept_descriptor(from);  // all ones: none
    if (kept > last) return static_cast<int>(::syscall(SYS_close_range, from, last, flags));
    if (kept > from && ::syscall(SYS_close_range, from, kept - 1, flags) < 0) return -1;
    if (kept == last) return 0;
    from = kept + 1;
  }
}

}  // namespace
}  // namespace gridcentric::preload

extern "C" {

__attribute__((visibility("default"))) int close(int fd) {
  if (gridcentric::guest::is_kept_descriptor(fd)) return errno = EBADF, -1;
  return gridcentric::preload::real_close(fd);
}

// Since glibc 2.34; what a program links against is unchanged by it.
__attribute__((visibility("default"))) int close_range(unsigned first, unsigned last, int flags) noexcept {
  if (first > last) return errno = EINVAL, -1;
  return gridcentric::preload::close_between(first, last, flags);
}

__attribute__((visibility("default"))) void closefrom(int lowest) noexcept {
  const auto first = static_cast<unsigned>(std::max(lowest, 0));
  if (gridcentric::preload::close_between(first, ~0u, 0) == 0) return;
  const long end = ::sysconf(_SC_OPEN_MAX);  // before Linux 5.9
  for (long fd = first; fd < end; ++fd) close(static_cast<int>(fd));
}

}  // extern "C"
