// Raw system calls, and the little text handling that is needed by code that runs while every other thread is parked: no
// errno, no malloc, no stdio, no TLS. Results are the kernel's: >= 0 or -errno.
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "arch.hpp"

namespace gridcentric::live_clone {

template <typename T>
inline long as_long(T value) {
  if constexpr (__is_same(T, decltype(nullptr)))
    return 0;
  else
    return (long)value;
}

template <typename... Args>
inline long sys(long number, Args... args) {
  const long v[6] = {as_long(args)...};
  return arch::syscall6(number, v[0], v[1], v[2], v[3], v[4], v[5]);
}

inline int64_t now_ns() {
  timespec t{};
  sys(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000L + t.tv_nsec;
}

inline double now_ms() { return (double)now_ns() / 1e6; }

/// Waits while `word` is `value`, at most `ms` milliseconds (negative: for ever). May return spuriously.
inline void futex_wait(const std::atomic<int> &word, int value, int ms = -1) {
  timespec t{ms / 1000, (ms % 1000) * 1000000L};
  sys(SYS_futex, &word, FUTEX_WAIT, value, ms < 0 ? nullptr : &t);
}

inline void futex_wake(const std::atomic<int> &word) { sys(SYS_futex, &word, FUTEX_WAKE, INT32_MAX); }

/// Writes text into a buffer of fixed size; cuts what does not fit; always NUL-terminated.
class Text {
 public:
  Text(char *buffer, size_t size) : at_(buffer), end_(buffer + size - 1) { *at_ = 0; }
  Text &operator<<(const char *s) {
    while (*s && at_ < end_) *at_++ = *s++;
    *at_ = 0;
    return *this;
  }
  Text &operator<<(long v) {
    char digits[24];
    int i = sizeof digits;
    digits[--i] = 0;
    unsigned long u = v < 0 ? 0UL - (unsigned long)v : (unsigned long)v;
    do digits[--i] = char('0' + u % 10);
    while (u /= 10);
    if (v < 0) digits[--i] = '-';
    return *this << (digits + i);
  }
  Text &operator<<(int v) { return *this << long(v); }
  Text &operator<<(unsigned v) { return *this << long(v); }
  Text &operator<<(unsigned long v) { return *this << long(v); }
  /// An IPv4 address in host byte order.
  Text &address(uint32_t ip) {
    return *this << (ip >> 24) << "." << (ip >> 16 & 255) << "." << (ip >> 8 & 255) << "." << (ip & 255);
  }
  /// An IPv6 address, all eight numbers.
  Text &address(const uint8_t (&bytes)[16]) {
    for (int i = 0; i < 16; i += 2) {
      const unsigned v = unsigned(bytes[i]) << 8 | bytes[i + 1];
      if (i) *this << ":";
      int shift = 12;
      while (shift && !(v >> shift)) shift -= 4;
      for (; shift >= 0 && at_ < end_; shift -= 4) *at_++ = "0123456789abcdef"[v >> shift & 15];
      *at_ = 0;
    }
    return *this;
  }
  /// A path. The middle of a long one is left out, so that the text after it still fits.
  Text &path(const char *s) {
    constexpr size_t most = 240, half = most / 2;
    size_t length = 0;
    while (s[length]) length++;
    if (length <= most) return *this << s;
    // Does not split a multi-byte character.
    const auto continues = [s](size_t at) { return (s[at] & 0xc0) == 0x80; };
    size_t head = half, tail = length - half;
    while (head > 0 && continues(head)) head--;
    while (continues(tail)) tail++;
    for (size_t i = 0; i < head && at_ < end_; i++) *at_++ = s[i];
    return *this << "..." << (s + tail);
  }
  char *end() const { return at_; }

 private:
  char *at_;
  char *end_;
};

/// A short path such as /proc/self/fdinfo/12.
struct Path {
  char text[96];
  Path(const char *head, long number, const char *tail = "") {
    Text t(text, sizeof text);
    t << head << number << tail;
  }
  operator const char *() const { return text; }
};

inline const char *parse_hex(const char *p, unsigned long *out) {
  unsigned long v = 0;
  for (;; p++) {
    int c = *p;
    if (c >= '0' && c <= '9')
      c -= '0';
    else if (c >= 'a' && c <= 'f')
      c -= 'a' - 10;
    else if (c >= 'A' && c <= 'F')
      c -= 'A' - 10;
    else
      break;
    v = v * 16 + (unsigned)c;
  }
  *out = v;
  return p;
}

inline const char *parse_dec(const char *p, unsigned long *out) {
  unsigned long v = 0;
  while (*p >= '0' && *p <= '9') v = v * 10 + unsigned(*p++ - '0');
  *out = v;
  return p;
}

/// The rest of `text` if it begins with `prefix`, else null.
__attribute__((nonnull)) inline const char *after(const char *text, const char *prefix) {
  while (*prefix)
    if (*text++ != *prefix++) return nullptr;
  return text;
}

inline bool same_text(const char *a, const char *b) {
  const char *rest = after(a, b);
  return rest && !*rest;
}

/// Where `needle` begins in `text` up to the end of the line, or null.
inline const char *find_in_line(const char *text, const char *needle) {
  for (; *text && *text != '\n'; text++)
    if (after(text, needle)) return text;
  return nullptr;
}

inline const char *next_line(const char *p) {
  while (*p && *p != '\n') p++;
  return *p ? p + 1 : p;
}

/// Where the field of this number, from 3 on, begins in the text of a /proc/PID/stat (proc(5) numbers them); null: it has none.
inline const char *stat_field(const char *text, int number) {
  const char *p = nullptr;
  for (const char *at = text; *at; at++)
    if (*at == ')') p = at;  // end of the name, which may hold anything
  for (int k = 2; p && k < number; k++)
    if ((p = find_in_line(p, " "))) p++;
  return p;
}

/// The value of a "key: value" line, leading blanks skipped, or null.
inline const char *field(const char *text, const char *key) {
  for (; *text; text = next_line(text))
    if (const char *v = after(text, key)) {
      while (*v == ' ' || *v == '\t') v++;
      return v;
    }
  return nullptr;
}

/// Reads a whole (proc) file, NUL-terminated. Returns its length, or -errno; -ENOBUFS if it does not fit.
inline long read_file(const char *path, char *buffer, size_t size) {
  long fd = sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return fd;
  size_t n = 0;
  long r = 0;
  while (n < size - 1 && (r = sys(SYS_read, fd, buffer + n, size - 1 - n)) > 0) n += (size_t)r;
  sys(SYS_close, fd);
  if (r < 0) return r;
  buffer[n] = 0;
  return n == size - 1 ? -ENOBUFS : (long)n;
}

struct DirectoryEntry {
  uint64_t inode;
  int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[];
};

}  // namespace gridcentric::live_clone
