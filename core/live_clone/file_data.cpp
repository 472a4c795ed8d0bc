#include "file_data.hpp"

#include <unistd.h>

#include "sys.hpp"

namespace gridcentric::live_clone {

int copy_data(int from, int to, uint64_t size) {
  const long sized = sys(SYS_ftruncate, to, size);
  if (sized < 0) return (int)-sized;
  for (uint64_t at = 0; at < size;) {
    long data = sys(SYS_lseek, from, at, SEEK_DATA);
    if (data == -ENXIO) break;      // only a hole is left
    if (data < 0) data = (long)at;  // a file system that does not tell
    long hole = sys(SYS_lseek, from, data, SEEK_HOLE);
    if (hole < 0 || (uint64_t)hole > size) hole = (long)size;
    sys(SYS_lseek, to, data, SEEK_SET);
    for (long offset = data; offset < hole;) {
      const long n = sys(SYS_sendfile, to, from, &offset, hole - offset);
      if (n < 0) return (int)-n;
      if (n == 0) return 0;  // somebody has truncated it meanwhile
    }
    at = (uint64_t)hole;
  }
  return 0;
}

}  // namespace gridcentric::live_clone
