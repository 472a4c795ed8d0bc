// A line of /proc/self/maps. Runs while threads are parked: see sys.hpp.
#pragma once

#include <sys/mman.h>

#include "sys.hpp"

namespace gridcentric::live_clone {

struct MapsLine {
  uint64_t start, end, offset, device, inode;
  const char *permissions;
  const char *name;  ///< up to the end of the line
};

/// Returns the next line.
inline const char *parse_maps_line(const char *p, MapsLine *m) {
  unsigned long v, major, minor;
  p = parse_hex(p, &v), m->start = v;
  p = parse_hex(p + 1, &v), m->end = v;
  m->permissions = p + 1;
  p = parse_hex(p + 6, &v), m->offset = v;
  p = parse_hex(p + 1, &major);
  p = parse_hex(p + 1, &minor);
  m->device = major << 32 | minor;
  p = parse_dec(p + 1, &v), m->inode = v;
  while (*p == ' ') p++;
  m->name = p;
  return next_line(p);
}

inline int protection_of(const MapsLine &m) {
  const char *r = m.permissions;
  return (r[0] == 'r' ? PROT_READ : 0) | (r[1] == 'w' ? PROT_WRITE : 0) | (r[2] == 'x' ? PROT_EXEC : 0);
}

}  // namespace gridcentric::live_clone
