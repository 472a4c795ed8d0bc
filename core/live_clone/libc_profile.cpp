// See libc_profile.hpp. Symbols are weak: they exist only in some libraries and versions.
#include "libc_profile.hpp"

#include <dlfcn.h>
#include <sys/auxv.h>

#include <algorithm>

extern "C" {
__attribute__((weak)) const char *gnu_get_libc_version(void);
extern const std::ptrdiff_t __rseq_offset __attribute__((weak));  // glibc 2.35 and later
extern const unsigned int __rseq_size __attribute__((weak));
}

namespace gridcentric::live_clone {

namespace {

// Before glibc 2.34 they are in libpthread; libc has only stubs of the same names.
void *locks_library() {
  void *own = dlopen("libpthread.so.0", RTLD_LAZY | RTLD_NOLOAD);
  return own ? own : dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
}

// Where the field is, as glibc tells debuggers: size in bits, count, offset. Since 2.43 the kernel clears another field when
// a thread ends, so PR_GET_TID_ADDRESS no longer leads to the id.
void find_thread_id(LibcProfile *p) {
  void *library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  const auto *field =
      static_cast<const uint32_t *>(dlsym(library ? library : RTLD_DEFAULT, "_thread_db_pthread_tid"));
  if (library) dlclose(library);
  if (field && field[0] == 32) p->thread_id_offset = field[2];
}

// The functions lie close together, with their static helpers between and around them.
void find_lock_code(LibcProfile *p) {
  constexpr const char *functions[] = {"pthread_mutex_init",         "pthread_mutex_lock",
                                       "pthread_mutex_trylock",      "pthread_mutex_timedlock",
                                       "pthread_mutex_clocklock",    "pthread_mutex_unlock",
                                       "pthread_rwlock_wrlock",      "pthread_rwlock_unlock",
                                       "pthread_rwlock_timedwrlock", "pthread_rwlock_trywrlock"};
  constexpr uint64_t around = 2048, longest = 8192, far = 1 << 16;
  void *library = locks_library();
  uint64_t low = 0, high = 0;
  for (const char *name : functions) {
    const auto at = reinterpret_cast<uint64_t>(dlsym(library ? library : RTLD_DEFAULT, name));
    if (!at || (low && (at + far < low || at > high + far))) continue;
    low = low ? std::min(low, at) : at;
    high = std::max(high, at);
  }
  if (library) dlclose(library);
  if (!low) return;
  p->lock_code_start = low - around;
  p->lock_code_end = high + longest;
}

LibcProfile find() {
  LibcProfile p{};
  p.glibc = &gnu_get_libc_version != nullptr;
  p.name = p.glibc ? std::string("glibc ") + gnu_get_libc_version() : "an unknown C library";
  if (&__rseq_size && &__rseq_offset) {
    p.rseq_size = __rseq_size;
    p.rseq_offset = (size_t)__rseq_offset;
  }
  p.vdso = getauxval(AT_SYSINFO_EHDR);
  if (p.glibc) find_lock_code(&p), find_thread_id(&p);
  return p;
}

}  // namespace

const LibcProfile &libc_profile() {
  static const LibcProfile found = find();
  return found;
}

}  // namespace gridcentric::live_clone
