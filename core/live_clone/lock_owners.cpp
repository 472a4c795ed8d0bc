// Locks of the C library that remember their owner by thread id. In plain mode a clone's threads have new
// ids, and a lock held while cloning could never be given back (a recursive mutex answers EPERM, a write lock
// takes the wrong path and hangs all who follow). So writable memory is searched for them while threads are
// parked, and each clone patches what was found. In pidns mode ids do not change and none of this is needed.
// Layouts: glibc 2.25 and later, 64 bit. Threads parked inside the lock functions may have an id in a
// register: those are patched as well.
#include "engine.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace gridcentric::live_clone {

struct LockOwner {
  uint32_t *word;
};

namespace {

// glibc's pthread_mutex_t as words: lock, count, owner, nusers, kind, spins and elision, prev, prev, next, next.
// pthread_rwlock_t: readers, writers, wrphase_futex, writers_futex, pad, pad, cur_writer, shared, pad (4), flags.
// In a container thread ids are small numbers, as there are many in a program's data: every word counts, so that
// data is not taken for a lock.
constexpr uint32_t kind_mask = 0x7f;
constexpr uint32_t kind_recursive = 1, kind_errorcheck = 2, kind_priority_inherit = 32;
constexpr uint32_t process_shared = 0x80;
constexpr uint32_t waiters_bits = 0xc0000000;  // in lock words that hold the owner's id

struct Range {
  uint32_t low, span;
  bool holds(uint32_t word) const { return (word & ~waiters_bits) - low <= span; }
};

// Which of the 16 words of a cache line may be a thread id: a bit each.
unsigned candidates(const uint32_t *line, const Range &r) {
#if defined(__SSE2__)
  const __m128i mask = _mm_set1_epi32((int)~waiters_bits), low = _mm_set1_epi32((int)r.low - 1),
                high = _mm_set1_epi32((int)(r.low + r.span + 1));
  const auto *parts = reinterpret_cast<const __m128i *>(line);
  unsigned bits = 0;
  for (int i = 0; i < 4; i++) {
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): every line of maps has an address
    const __m128i v = _mm_and_si128(parts[i], mask);
    const __m128i in = _mm_and_si128(_mm_cmpgt_epi32(v, low), _mm_cmplt_epi32(v, high));
    bits |= (unsigned)_mm_movemask_ps(_mm_castsi128_ps(in)) << (4 * i);
  }
  return bits;
#else
  unsigned bits = 0;
  for (int i = 0; i < 16; i++) bits |= unsigned(r.holds(line[i])) << i;
  return bits;
#endif
}

bool remember(uint32_t *word) {
  LockOwner *o = engine.lock_owners.add(engine.arena);
  if (!o) return fail_arena();
  o->word = word;
  return true;
}

bool fail_mutex(int tid, const char *what) {
  return fail(EOPNOTSUPP) << "thread " << tid << " holds " << what
                          << ", whose owner is in the kernel's hands: not in "
                          << "plain mode; release it before the clone or use pidns mode",
         false;
}

// Robust mutexes that a thread holds are on a list of its own: head {next, offset, pending}, empty when next
// is head.
bool check_robust_list(const Thread &t) {
  if (!t.robust_list) return true;
  const auto *head = static_cast<void *const *>(t.robust_list);
  return (head[0] == t.robust_list && !head[2]) || fail_mutex(t.tid, "a robust mutex");
}

bool all_zero(const uint32_t *words, int count) {
  uint32_t any = 0;
  for (int i = 0; i < count; i++) any |= words[i];
  return any == 0;
}

bool is_owner_of_mutex(const uint32_t *w, const uint32_t *begin, const uint32_t *end) {
  if (w - begin < 2 || end - w < 8 || (w[-2] != 1 && w[-2] != 2) || w[1] < 1 || w[1] >= 1u << 20)
    return false;
  const uint32_t kind = w[2] & ~process_shared;
  return ((kind == kind_recursive && w[-1] >= 1) || (kind == kind_errorcheck && w[-1] == 0)) &&
         all_zero(w + 3, 5);
}

bool is_writer_of_rwlock(const uint32_t *w, const uint32_t *begin, const uint32_t *end) {
  constexpr uint32_t write_locked = 2, most_flags = 2;
  return w - begin >= 6 && end - w >= 7 && (w[-6] & write_locked) && (w[-4] & 1) &&
         (w[-3] == 1 || w[-3] == 3) && all_zero(w - 2, 2) && w[1] <= 1 && all_zero(w + 2, 4) &&
         w[6] <= most_flags;
}

// `w` holds something that may be a thread's id; [begin, end) is readable around it.
bool examine(uint32_t *w, uint32_t *begin, uint32_t *end) {
  const uint32_t tid = *w & ~waiters_bits;
  Thread *owner = thread_by_tid((int)tid);
  if (!owner || ((uint64_t)w & 7)) return true;
  if (*w == tid && (is_owner_of_mutex(w, begin, end) || is_writer_of_rwlock(w, begin, end)))
    return remember(w);
  // A priority-inheritance mutex: the lock word holds the id as well; not on the robust list, so its links
  // are 0.
  if (end - w >= 10 && w[2] == tid && w[1] < 1u << 20 && w[3] == 1 &&
      (w[4] & ~0x83u) == kind_priority_inherit && all_zero(w + 5, 5))
    return fail_mutex((int)tid, "a priority-inheritance mutex");
  return true;
}

// A chunk of V8's heap begins with its size, 256 KiB, and is aligned to it: nothing in it is a lock.
bool v8_chunk(uint64_t address, uint64_t end) {
  return (address & 0x3ffff) == 0 && address + 0x40000 <= end &&
         // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): every line of maps has an address
         *reinterpret_cast<uint64_t *>(address) == 0x40000;
}

bool search_page(uint64_t page, uint64_t begin, uint64_t end, const Range &range) {
  auto *words = reinterpret_cast<uint32_t *>(page);
  for (int line = 0; line < 1024; line += 16)
    for (unsigned bits = candidates(words + line, range); bits; bits &= bits - 1)
      if (!examine(words + line + __builtin_ctz(bits), (uint32_t *)begin, (uint32_t *)end)) return false;
  return true;
}

// Only pages that exist are looked at: the rest holds no lock, and reading would create it.
bool search_mapping(uint64_t begin, uint64_t end, int pagemap, uint64_t *entries, size_t capacity,
                    const Range &range) {
  for (uint64_t at = begin; at < end;) {
    size_t pages = (end - at) >> 12;
    if (pages > capacity) pages = capacity;
    const long n = sys(SYS_pread64, pagemap, entries, pages * 8, (at >> 12) * 8);
    if (n != (long)(pages * 8)) return fail(EIO) << "/proc/self/pagemap can't be read", false;
    for (size_t i = 0; i < pages; i++) {
      if (!(entries[i] >> 62)) continue;  // neither present nor swapped out
      const uint64_t page = at + (uint64_t(i) << 12);
      if (engine.arena.holds(page)) continue;
      if (v8_chunk(page, end)) {
        i += 63;
        continue;
      }
      if (!search_page(page, begin, end, range)) return false;
    }
    at += uint64_t(pages) << 12;
  }
  return true;
}

// A thread may be parked while it has its id, or an owner just read, in a register: between taking a lock and
// storing itself as owner, or between looking at the owner and giving the lock back.
bool inside_lock_code(const Thread &t) {
  const uint64_t pc = arch::pc_of(t.frame);
  return pc >= engine.lock_code_start && pc < engine.lock_code_end;
}

// pthread_mutex_timedlock reads the id even before it waits, somewhere else, for the mutex.
bool waits_for_owned_mutex(const Thread &t) {
  if (!t.waited || t.call.number != SYS_futex) return false;
  const uint64_t word = t.call.args[0];
  if ((word & 7) || (word & 4095) > 4096 - 20)
    return false;  // its kind may lie on a page that does not exist
  const auto *mutex = reinterpret_cast<const uint32_t *>(word);
  const uint32_t kind = mutex[4] & kind_mask;
  return mutex[0] == 2 && (kind == kind_recursive || kind == kind_errorcheck);
}

void patch_frame(Thread &t) {
  constexpr int innermost = 64;  // words of the stack
  const auto old_tid = (uint32_t)t.tid, new_tid = (uint32_t)t.new_tid;
  arch::replace_in_registers(t.frame, old_tid, new_tid);
  auto *stack = reinterpret_cast<uint32_t *>(arch::stack_of(t.frame));
  for (int i = 0; i < innermost; i++)
    if (stack[i] == old_tid) stack[i] = new_tid;
}

}  // namespace

bool find_lock_owners() {
  Engine &e = engine;
  uint32_t lowest = ~0u, highest = 0;
  for (size_t i = 0; i < e.thread_count; i++) {
    if (e.threads[i].state != thread_parked) continue;
    if (!check_robust_list(e.threads[i])) return false;
    const uint32_t tid = (uint32_t)e.threads[i].tid;
    if (tid < lowest) lowest = tid;
    if (tid > highest) highest = tid;
  }
  const Range range{lowest, highest - lowest};
  const size_t half = e.scratch_size / 2;
  const long n = read_file("/proc/self/maps", e.scratch, half);
  if (n == -ENOBUFS) return fail_arena();
  const long pagemap = sys(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
  if (n < 0 || pagemap < 0)
    return fail(EACCES) << "/proc/self/pagemap can't be read: plain mode needs it", false;
  auto *entries = reinterpret_cast<uint64_t *>(e.scratch + half);
  bool ok = true;
  for (const char *p = e.scratch; ok && *p; p = next_line(p)) {
    unsigned long begin, end;
    const char *permissions = parse_hex(parse_hex(p, &begin) + 1, &end) + 1;
    if (permissions[0] != 'r' || permissions[1] != 'w' || permissions[3] != 'p') continue;
    if (end - begin >= e.largest_searched) continue;
    ok = search_mapping(begin, end, (int)pagemap, entries, half / 8, range);
  }
  sys(SYS_close, pagemap);
  return ok;
}

void patch_lock_owners() {
  for (LockOwner &o : engine.lock_owners)
    if (Thread *t = thread_by_tid((int)*o.word)) *o.word = (uint32_t)t->new_tid;
  for (size_t i = 0; i < engine.thread_count; i++) {
    Thread &t = engine.threads[i];
    if (t.state == thread_parked && t.frame && (inside_lock_code(t) || waits_for_owned_mutex(t)))
      patch_frame(t);
  }
}

}  // namespace gridcentric::live_clone
