// Locks of the C library that store their owner's thread id. In plain mode a clone's threads have new ids, so a lock held
// while cloning could never be released (a recursive mutex returns EPERM, a write lock takes the wrong path and hangs every
// later user). So writable memory is searched for such locks, and each clone patches what was found. The copy of the program
// is searched, once, not the program itself, which runs again meanwhile: it takes as long as there is memory. In pidns mode
// ids do not change and none of this is needed. Layouts: glibc 2.25 and later, 64 bit. Threads parked inside the lock
// functions may have an id in a register: those are patched as well.
#include "engine.hpp"
#include "program_memory.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace gridcentric::live_clone {

struct LockOwner {
  uint64_t word;  // its address
};

namespace {

// glibc's pthread_mutex_t as words: lock, count, owner, nusers, kind, spins and elision, prev, prev, next, next.
// pthread_rwlock_t: readers, writers, wrphase_futex, writers_futex, pad, pad, cur_writer, shared, pad (4), flags.
// In a container thread ids are small numbers, which are common in a program's data: every word is checked, so that data is
// not mistaken for a lock.
constexpr uint32_t kind_mask = 0x7f;
constexpr uint32_t kind_recursive = 1, kind_errorcheck = 2, kind_priority_inherit = 32;
constexpr uint32_t process_shared = 0x80;
constexpr uint32_t waiters_bits = 0xc0000000;  // in lock words that hold the owner's id

struct Range {
  uint32_t low, span;
  bool holds(uint32_t word) const { return (word & ~waiters_bits) - low <= span; }
};

// A bit for each of the 16 words of a cache line: may it be a thread id?
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

bool remember(uint64_t word) {
  LockOwner *o = engine.plan.lock_owners.add(engine.arena);
  if (!o) return fail_arena();
  o->word = word;
  return true;
}

bool fail_mutex(int tid, const char *what) {
  return fail(EOPNOTSUPP) << "thread " << tid << " holds " << what
                          << ", whose owner the kernel keeps and plain mode "
                          << "can't change; release it before the clone or use pidns mode",
         false;
}

// The robust mutexes that a thread holds are on the thread's own list: head {next, offset, pending}, empty if next is
// head. If the list cannot be read, the kernel cannot walk it either.
bool check_robust_list(const Thread &t, const ProgramMemory &memory) {
  void *head[3] = {};
  if (!t.robust_list || memory.read((uint64_t)t.robust_list, head, sizeof head) != sizeof head) return true;
  return (head[0] == t.robust_list && !head[2]) || fail_mutex(t.tid, "a robust mutex");
}

bool in_lock_code(uint64_t address) {
  return address >= engine.prepared.libc.lock_code_start && address < engine.prepared.libc.lock_code_end;
}

// A thread may be parked while it has its id, or an owner that it has just read, in a register: between taking a lock and
// storing itself as owner, or between reading the owner and releasing the lock.
bool inside_lock_code(const Thread &t) { return t.frame && in_lock_code(arch::pc_of(t.frame)); }

bool all_zero(const uint32_t *words, int count) {
  uint32_t any = 0;
  for (int i = 0; i < count; i++) any |= words[i];
  return any == 0;
}

// The owner stores its id before it counts itself as a user.
bool is_owner_of_mutex(const Thread &owner, const uint32_t *w, const uint32_t *begin, const uint32_t *end) {
  if (w - begin < 2 || end - w < 8 || (w[-2] != 1 && w[-2] != 2) || w[1] >= 1u << 20 ||
      (w[1] == 0 && !inside_lock_code(owner)))
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

// A readable piece of the program's memory: in place, or a copy of it.
struct Stretch {
  uint32_t *begin, *end;
  uint64_t address;   // of `begin` in the program
  bool zeros_follow;  // what follows was never written and reads as zeros

  uint64_t address_of(const uint32_t *w) const {
    return address + uint64_t((const char *)w - (const char *)begin);
  }
};

constexpr int words_before = 6, words_behind = 10;  // around the owner that are checked, for any kind of lock

// `w` holds what may be a thread's id.
bool examine(const uint32_t *w, const Stretch &s) {
  const uint32_t tid = *w & ~waiters_bits;
  Thread *owner = thread_by_tid((int)tid);
  const uint64_t address = s.address_of(w);
  if (!owner || (address & 7)) return true;
  const uint32_t *begin = s.begin, *end = s.end;
  uint32_t padded[words_before + words_behind] = {};
  if (s.zeros_follow && end - w < words_behind) {
    const long before = w - begin < words_before ? w - begin : words_before;
    for (long i = -before; i < end - w; i++) padded[before + i] = w[i];
    w = padded + before, begin = padded, end = padded + sizeof padded / sizeof *padded;
  }
  if (*w == tid && (is_owner_of_mutex(*owner, w, begin, end) || is_writer_of_rwlock(w, begin, end)))
    return remember(address);
  // A priority-inheritance mutex: the lock word holds the id as well; it is not on the robust list, so its links are 0.
  if (end - w >= 10 && w[2] == tid && w[1] < 1u << 20 && w[3] == 1 &&
      (w[4] & ~0x83u) == kind_priority_inherit && all_zero(w + 5, 5))
    return fail_mutex((int)tid, "a priority-inheritance mutex");
  return true;
}

// `from` and `to` are at cache lines.
bool search_stretch(const Stretch &s, const uint32_t *from, const uint32_t *to, const Range &range) {
  for (const uint32_t *line = from; line < to; line += 16)
    for (unsigned bits = candidates(line, range); bits; bits &= bits - 1)
      if (!examine(line + __builtin_ctz(bits), s)) return false;
  return true;
}

// Is it a chunk that the order says holds no locks?
bool is_lock_free(uint64_t address, uint64_t end) {
  const uint64_t size = engine.order->no_locks_in_chunks;
  return size && address % size == 0 && end - address >= size &&
         // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): every line of maps has an address
         *reinterpret_cast<uint64_t *>(address) == size;
}

// Searches the mappings one by one. Only pages that exist are read, in runs: others hold no locks, and reading would
// create them. Private pages of anonymous memory are read in place, because they cannot vanish. Others are read through
// /proc/self/mem, because a page may be a guard (before Linux 6.15 it looks like a swapped one) or its file may be
// truncated at any moment.
class Search {
 public:
  Search(const PageMap &pages, const ProgramMemory &memory, char *buffer, size_t size, const Range &range)
      : pages_(pages),
        memory_(memory),
        range_(range),
        piece_(reinterpret_cast<uint32_t *>(buffer)),
        entries_(reinterpret_cast<PageEntry *>(buffer + piece_size)),
        capacity_((size - piece_size) / sizeof(PageEntry)) {}

  bool mapping(uint64_t begin, uint64_t end, bool anonymous) {
    uint64_t run = 0;  // where the current run begins
    bool in_place = true;
    for (uint64_t at = begin; at < end;) {
      size_t count = (end - at) / page_size;
      if (count > capacity_) count = capacity_;
      if (!pages_.read(at, entries_, count)) return fail(EIO) << "/proc/self/pagemap can't be read", false;
      for (size_t i = 0; i < count; i++) {
        const PageEntry entry = entries_[i];
        const uint64_t page = at + i * page_size;
        // This process has never written the page, which is the file's own: no lock in it is held.
        const bool exists = (entry.present() && !entry.of_file()) || entry.swapped();
        const bool ours = engine.arena.holds(page);
        const bool chunk = exists && !ours && anonymous && entry.present() && is_lock_free(page, end);
        if (exists && !ours && !chunk) {
          if (!run) run = page, in_place = anonymous;
          in_place = in_place && entry.present();
          continue;
        }
        if (run && !search(run, page, in_place, anonymous && !exists && !entry.guard())) return false;
        run = 0;
        if (chunk) i += engine.order->no_locks_in_chunks / page_size - 1;
      }
      at += count * page_size;
    }
    return !run || search(run, end, in_place, false);
  }

 private:
  static constexpr size_t piece_size = 64 * 1024;

  bool search(uint64_t begin, uint64_t end, bool in_place, bool zeros_follow) {
    if (!in_place) return search_copies(begin, end, zeros_follow);
    const Stretch s{reinterpret_cast<uint32_t *>(begin), reinterpret_cast<uint32_t *>(end), begin,
                    zeros_follow};
    return search_stretch(s, s.begin, s.end, range_);
  }

  // Piece by piece, each with one cache line of its neighbors.
  bool search_copies(uint64_t begin, uint64_t end, bool zeros_follow) {
    constexpr size_t line = 64;
    for (uint64_t at = begin; at < end;) {
      const size_t before = at > begin ? line : 0;
      const size_t wanted = end - at + before < piece_size ? end - at + before : piece_size;
      const size_t got = memory_.read(at - before, piece_, wanted) & ~(line - 1);
      if (got <= before) {  // a guard, or gone
        at = (at / page_size + 1) * page_size;
        begin = at;
        continue;
      }
      const bool last = at - before + got >= end;
      const size_t behind = last || got < wanted ? 0 : line;
      const Stretch s{piece_, piece_ + got / 4, at - before, last && zeros_follow};
      if (!search_stretch(s, piece_ + before / 4, piece_ + (got - behind) / 4, range_)) return false;
      at += got - before - behind;
    }
    return true;
  }

  const PageMap &pages_;
  const ProgramMemory &memory_;
  const Range range_;
  uint32_t *piece_;
  PageEntry *entries_;
  size_t capacity_;
};

// pthread_mutex_timedlock, and since glibc 2.43 pthread_mutex_lock, read the id before they wait for the mutex, in a
// separate function. If the thread is in that function and waits for a mutex with an owner, returns where its return address
// is; else 0.
uint64_t return_of_waiter(const Thread &t, const ProgramMemory &memory) {
  constexpr uint64_t near = 1 << 16;
  constexpr size_t innermost = 16;  // words of the stack
  const uint64_t pc = arch::pc_of(t.frame);
  if (pc + near < engine.prepared.libc.lock_code_start || pc >= engine.prepared.libc.lock_code_end + near)
    return 0;
  const uint64_t waited_for = t.wait.interrupted ? t.wait.call.args[0] : arch::first_argument(t.frame);
  uint32_t mutex[5] = {};
  if ((waited_for & 7) || memory.read(waited_for, mutex, sizeof mutex) != sizeof mutex) return 0;
  const uint32_t kind = mutex[4] & kind_mask;
  if (mutex[0] > 2 || (kind != kind_recursive && kind != kind_errorcheck)) return 0;
  const uint64_t top = arch::stack_of(t.frame);
  uint64_t stack[innermost] = {};  // there may be fewer
  const size_t words = memory.read(top, stack, sizeof stack) / sizeof *stack;
  for (size_t i = 0; i < words; i++)
    if (in_lock_code(stack[i])) return top + i * sizeof *stack;
  return in_lock_code(arch::link_of(t.frame)) ? top : 0;
}

// Replaces the id in the registers, and in what the locking function keeps at the end of its frame, which begins at or
// above `frame`. The program's own data there may happen to be the same number, so no more than necessary is checked.
void patch_frame(Thread &t, uint64_t frame, const ProgramMemory &memory) {
  constexpr size_t most = 64, kept = 10;  // words of the stack; the first two may be the address
  const auto old_tid = (uint32_t)t.tid, new_tid = (uint32_t)t.new_tid;
  uint32_t instruction = 0;
  memory.read(arch::pc_of(t.frame), &instruction, sizeof instruction);
  arch::replace_in_registers(t.frame, old_tid, new_tid, arch::is_system_call(instruction));
  const uint64_t top = arch::stack_of(t.frame);
  uint32_t stack[most] = {};  // there may be fewer
  const size_t wanted = (frame - top) / sizeof *stack + kept;
  const size_t words =
      memory.read(top, stack, (wanted < most ? wanted : most) * sizeof *stack) / sizeof *stack;
  for (size_t i = 0; i < words; i++)
    if (stack[i] == old_tid) memory.write(top + i * sizeof *stack, &new_tid, sizeof new_tid);
}

}  // namespace

bool find_lock_owners(CloneStatus &status) {
  Engine &e = engine;
  if (e.pidns()) return true;
  const double start = now_ms();
  const PageMap pages;
  const ProgramMemory memory;
  if (const int err = pages.error() ? pages.error() : memory.error(); err)
    return fail(err) << "/proc/self/pagemap and /proc/self/mem can't be opened (error " << err
                     << "): plain mode needs them",
           false;
  uint32_t lowest = ~0u, highest = 0;
  for (size_t i = 0; i < e.plan.thread_count; i++) {
    if (e.plan.threads[i].state != thread_parked) continue;
    if (!check_robust_list(e.plan.threads[i], memory)) return false;
    const uint32_t tid = (uint32_t)e.plan.threads[i].tid;
    if (tid < lowest) lowest = tid;
    if (tid > highest) highest = tid;
  }
  const size_t half = e.scratch_size / 2 & ~size_t(63);
  const long n = read_file("/proc/self/maps", e.scratch, half);
  if (n == -ENOBUFS) return fail_arena();
  if (n < 0) return fail((int)-n) << "/proc/self/maps can't be read: plain mode needs it", false;
  Search search(pages, memory, e.scratch + half, half, Range{lowest, highest - lowest});
  bool ok = true;
  for (const char *p = e.scratch; ok && *p; p = next_line(p)) {
    unsigned long begin, end, ignored, inode;
    const char *permissions = parse_hex(parse_hex(p, &begin) + 1, &end) + 1;
    if (permissions[0] != 'r' || permissions[1] != 'w' || permissions[3] != 'p') continue;
    if (e.order->no_locks_from && end - begin >= e.order->no_locks_from) continue;
    const char *device = parse_hex(permissions + 5, &ignored) + 1;
    parse_dec(parse_hex(parse_hex(device, &ignored) + 1, &ignored) + 1, &inode);
    ok = search.mapping(begin, end, inode == 0);
  }
  status.locks_ms = now_ms() - start;
  return ok;
}

bool patch_lock_owners() {
  const ProgramMemory memory;
  if (const int err = memory.error(); err)
    return fail(err) << "/proc/self/mem can't be opened in the clone (error " << err
                     << "): plain mode needs it",
           false;
  for (const LockOwner &o : engine.plan.lock_owners) {
    uint32_t tid = 0;
    memory.read(o.word, &tid, sizeof tid);
    if (const Thread *t = thread_by_tid((int)tid)) memory.write(o.word, &t->new_tid, sizeof tid);
  }
  for (size_t i = 0; i < engine.plan.thread_count; i++) {
    Thread &t = engine.plan.threads[i];
    if (t.state != thread_parked || !t.frame) continue;
    const uint64_t frame = inside_lock_code(t) ? arch::stack_of(t.frame) : return_of_waiter(t, memory);
    if (frame) patch_frame(t, frame, memory);
  }
  return true;
}

}  // namespace gridcentric::live_clone
