// io_uring rings: a queue of requests and one of answers, in memory that kernel and program share. A fork would share them
// with the master, so a clone gets its own ring: same sizes, same addresses, same contents, same descriptor number. What
// cannot be carried over is refused by name (by refused_ring(), or here if it shows only from inside). Runs while threads
// are parked, or in a clone whose threads do not run yet: see sys.hpp.
//
// Counters. The kernel counts the requests that it took and the answers that it gave; in a new ring both counts are 0. A
// program may keep copies of them (liburing does), and a thread stopped between reading and writing one has it in a
// register, so the clone's ring catches up by no-ops. For a libuv loop that has made hundreds of thousands of requests
// this would take too long. But libuv keeps no copies: if nothing is in flight in its ring and no thread has a count in
// a register, the clone's begins near 0, at a count by which the next request and answer have the same places as before:
// a thread may have been stopped while it writes the one or reads the other.
//
// The flags that a ring was set up with cannot be read back. The new ring has a table of indexes if its memory has room
// for one: a program that expects none works too, because each entry is its own index. The new ring has no hints
// (IORING_SETUP_IOPOLL, COOP_TASKRUN and so on); they affect only speed.
//
// Polled rings (IORING_SETUP_SQPOLL): a kernel thread takes the requests as soon as they are written. In the master it may
// still be working when the program's threads have stopped, so we wait for it. In a clone such a ring is made after the
// program's threads, or the kernel thread might take one of their ids. How long the thread looks for work before it sleeps
// cannot be read back: in a clone it is as long as libuv's; after that the ring's flags tell the program to wake it.
#include <string.h>

#include "descriptor.hpp"
#include "ring_view.hpp"

namespace gridcentric::live_clone {

struct Ring {
  uint32_t sq_entries, cq_entries, flags;
  uint32_t start;   ///< of the clone's counters: requests taken, answers given
  uint32_t unsent;  ///< requests written but not submitted yet
  uint32_t unread;  ///< answers that have not been read yet
  char *sqes, *cqes;
  uint32_t *indexes;  ///< null: each request's index is its position
};

namespace {

constexpr uint32_t many_no_ops = 16384;  // some milliseconds
constexpr uint32_t polling_ms = 10;
constexpr double answer_timeout_ms = 20;  // the program is stopped meanwhile

long make_ring(uint32_t sq_entries, uint32_t cq_entries, uint32_t flags, io_uring_params *p) {
  memset(p, 0, sizeof *p);
  p->flags = IORING_SETUP_CQSIZE | flags;
  p->sq_thread_idle = flags & IORING_SETUP_SQPOLL ? polling_ms : 0;
  p->cq_entries = cq_entries;
  return sys(SYS_io_uring_setup, sq_entries, p);
}

uint64_t whole_pages(uint64_t size) { return (size + 4095) & ~uint64_t(4095); }

bool refuse_ring(const Descriptor &d, const char *why) {
  Text text = fail(EOPNOTSUPP);
  return tell_refused(text, d.fd, "an io_uring ", why), false;
}

// The place of the counters differs between kernels; a new ring shows it.
bool layout_of(uint32_t sq_entries, uint32_t cq_entries, uint32_t flags, io_uring_params *layout,
               const Descriptor &d) {
  const long twin = make_ring(sq_entries, cq_entries, flags, layout);
  if (twin < 0)
    return fail_descriptor((int)-twin, d)
               << "no more rings can be made (io_uring_setup: error " << -twin
               << "; sysctl kernel.io_uring_disabled, or a filter of system calls)",
           false;
  sys(SYS_close, twin);
  return true;
}

bool kernel_threads_run() {
  for (size_t i = 0; i < engine.plan.thread_count; i++)
    if (engine.plan.threads[i].state == thread_of_kernel) return true;
  return false;
}

// Waits until a kernel thread that polls the ring has taken and answered what the program has written; after that it
// touches nothing. Returns null, or why the ring is refused.
const char *settle(const Descriptor &d, View &view, bool *polled) {
  const double start = now_ms();
  for (int looks = 1;; looks++) {
    const bool taken = view.all_taken(), idle = view.all_answered(), level = taken && idle;
    // Waits for any thread that works in the ring; on an old kernel also for what is in flight, perhaps for ever.
    if (const char *why = idle ? refused_by_kernel(d.fd) : nullptr) return why;
    const char *info = fdinfo(d);
    if (!info) return "whose fdinfo can't be read";
    *polled = number_in(info, "SqThread:") > 0 ||
              (level && kernel_threads_run() && sys(SYS_io_uring_enter, d.fd, 1, 0, 0, nullptr, 0) == 1);
    const char *why = refused_ring(info);
    if (why && why != ring_in_flight) return why;
    // While a thread works in the ring, its fdinfo is incomplete or lacks the kernel thread.
    const bool told = field(info, "PollList:") && (*polled || level || !kernel_threads_run() || looks > 4);
    if (told && (level || !*polled)) return why;
    const bool asleep = View::now(view.sq_flags()) & IORING_SQ_NEED_WAKEUP;
    if (now_ms() - start > (taken || asleep ? answer_timeout_ms : engine.order->park_timeout_ms))
      return ring_in_flight;
    const timespec moment{0, 50'000};
    sys(SYS_nanosleep, &moment, nullptr);
  }
}

// Does the mapping show the same memory as `ours`? Tries it by changing for a moment a word that nobody uses.
bool shows(const SharedMapping &m, uint32_t &ours, uint64_t distance) {
  if (distance >= m.end - m.start || !(m.protection & PROT_READ)) return false;
  const auto &theirs = *reinterpret_cast<volatile uint32_t *>(m.start + distance);
  volatile uint32_t &word = ours;
  if (theirs != word) return false;
  word = word ^ 0x80000000;
  const bool same = theirs == word;
  word = word ^ 0x80000000;
  return same;
}

// Marks the mappings of this ring with its descriptor, and returns how far they reach. Does not go by the inode, because
// older kernels give all rings the same one.
uint64_t claim_mappings(const Descriptor &d, bool requests, uint32_t &ours, uint64_t distance) {
  uint64_t reach = 0;
  for (SharedMapping &m : engine.plan.shared) {
    if (!m.ring || m.ring_fd >= 0 || (m.offset == IORING_OFF_SQES) != requests || !shows(m, ours, distance))
      continue;
    m.ring_fd = d.fd;
    if (m.end - m.start > reach) reach = m.end - m.start;
  }
  return reach;
}

bool view_ring(const Descriptor &d, View *view, bool *polled) {
  io_uring_params layout;
  if (!layout_of(1, 2, 0, &layout, d)) return false;
  uint32_t sq_entries, cq_entries;
  uint64_t reach;
  {
    View head;
    if (head.map_rings(d.fd, layout) < 0) return refuse_ring(d, ring_without_memory);
    if (const char *why = settle(d, head, polled)) return refuse_ring(d, why);
    sq_entries = head.sq_mask() + 1;
    cq_entries = head.cq_mask() + 1;
    reach = claim_mappings(d, false, head.cq_flags(), layout.cq_off.flags);
  }
  if (!reach) return refuse_ring(d, ring_without_memory);
  if (!layout_of(sq_entries, cq_entries, 0, &layout, d)) return false;
  const uint64_t with_indexes = whole_pages(layout.sq_off.array + sq_entries * sizeof(uint32_t));
  if (reach < with_indexes && !layout_of(sq_entries, cq_entries, no_indexes, &layout, d)) return false;
  if (const long r = view->map_rings(d.fd, layout); r < 0)
    return fail_descriptor((int)-r, d) << "its memory can't be mapped (error " << -r << ")", false;
  if (view->map_requests(d.fd) < 0) return refuse_ring(d, ring_with_large_requests);
  const uint64_t requests = claim_mappings(d, true, word((char *)view->sqes, 0), 0);
  if (!requests) return refuse_ring(d, ring_without_memory);
  return requests <= whole_pages(view->sqes_size) || refuse_ring(d, ring_with_large_requests);
}

// libuv's ring for epoll_ctl: it makes no other requests, and user_data holds operation, index and descriptor. A thread may be
// writing the next request, over the oldest one.
bool is_libuvs(View &view, uint32_t taken, uint32_t unsent) {
  if (view.at.sq_entries != 256 || view.at.cq_entries != 512) return false;
  const uint32_t all = taken + unsent, known = all < 255 ? all : 255;
  for (uint32_t i = all - known; i != all; i++) {
    const uint32_t slot = i & 255;
    const io_uring_sqe &s = view.requests()[slot];
    if (s.opcode != IORING_OP_EPOLL_CTL || s.flags || s.len < 1 || s.len > 3 ||
        s.user_data != (s.len | slot << 2 | s.off << 32))
      return false;
  }
  return known > 0;
}

// Are requests or answers larger than usual? The kernel lists pending ones in fdinfo, so make it list one of each; only an
// answer if a kernel thread would take the request.
const char *refused_sizes(const Descriptor &d, View &view, bool polled) {
  uint32_t nothing = 0;
  uint32_t &index = view.has_indexes() ? view.indexes()[view.sq_tail() & view.sq_mask()] : nothing;
  const uint32_t before = index;
  if (!polled) index = 0, view.sq_tail()++;
  view.cq_head()--;
  const char *info = fdinfo(d);
  view.cq_head()++;
  if (!polled) view.sq_tail()--, index = before;
  if (!info) return "whose fdinfo can't be read";
  const char *requests = field(info, "SQEs:"), *answers = field(info, "CQEs:");
  if (!requests || !answers) return nullptr;  // a kernel older than the larger sizes
  for (const char *p = answers; *p; p = next_line(p))
    if (find_in_line(p, "extra1:")) return "with answers of 32 bytes (IORING_SETUP_CQE32)";
  bool listed = false;
  for (const char *p = requests; p < answers; p = next_line(p)) {
    listed = listed || find_in_line(p, "opcode:");
    if (find_in_line(p, "e0:")) return ring_with_large_requests;
  }
  if (!listed && view.sqes_size < 4096)
    return polled ? small_polled_ring
                  : "of fewer than 64 requests and without a table of indexes (IORING_SETUP_NO_SQARRAY): "
                    "the kernel does not report the size of its requests";
  return nullptr;
}

// A program's thread that was stopped between reading a count and writing it has it, or a neighbor, in a register.
bool counted_in_registers(uint32_t count) {
  for (size_t i = 0; i < engine.plan.thread_count; i++) {
    const Thread &t = engine.plan.threads[i];
    if (t.state != thread_parked || !t.frame) continue;
    for (uint32_t near = count - 1; near != count + 2; near++)
      if (arch::in_registers(t.frame, near)) return true;
  }
  return false;
}

bool keep_contents(Ring &r, View &view) {
  Arena &arena = engine.arena;
  r.sqes = static_cast<char *>(arena.take(view.sqes_size));
  r.cqes = static_cast<char *>(arena.take(view.cqes_size()));
  if (!r.sqes || !r.cqes) return fail_arena();
  memcpy(r.sqes, (char *)view.sqes, view.sqes_size);
  memcpy(r.cqes, view.cqes(), view.cqes_size());
  bool any = false;  // all 0: no table, or not written yet
  for (uint32_t i = 0; view.has_indexes() && i < r.sq_entries; i++) any = any || view.indexes()[i];
  if (!any) return true;
  r.indexes = static_cast<uint32_t *>(arena.take(r.sq_entries * sizeof(uint32_t)));
  if (!r.indexes) return fail_arena();
  memcpy(r.indexes, view.indexes(), r.sq_entries * sizeof(uint32_t));
  return true;
}

bool hand_in_no_ops(long fd, View &view, uint32_t count) {
  for (uint32_t left = count; left;) {
    const uint32_t some = left < view.at.sq_entries ? left : view.at.sq_entries;
    __atomic_store_n(&view.sq_tail(), view.sq_tail() + some, __ATOMIC_RELEASE);
    if (sys(SYS_io_uring_enter, fd, some, some, IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP, nullptr,
            0) != (long)some)
      return false;
    while (!view.all_taken()) sys(SYS_sched_yield);  // a kernel thread answers first, then moves the head
    __atomic_store_n(&view.cq_head(), view.cq_tail(), __ATOMIC_RELEASE);
    left -= some;
  }
  return view.sq_head() == count && view.cq_tail() == count;
}

bool map_over(long fd, const Descriptor &d) {
  for (SharedMapping &m : engine.plan.shared) {
    if (!m.ring || m.ring_fd != d.fd) continue;
    const long r = map_at_exactly(m.start, m.end - m.start, m.protection, fd, m.offset);
    if (r < 0)
      return fail_descriptor((int)-r, d) << "its memory can't be mapped at its address in the clone (error "
                                         << -r << "; a limit of address space, ulimit -v?)",
             false;
    m.done = true;
  }
  return true;
}

}  // namespace

// PF_IO_WORKER in field 9 of stat.
bool works_for_a_ring(int proc_tid) {
  char text[512];
  unsigned long flags = 0;
  if (read_file(Path("/proc/self/task/", proc_tid, "/stat"), text, sizeof text) > 0)
    if (const char *p = stat_field(text, 9)) parse_dec(p, &flags);
  return flags & 0x10;
}

// Registering an eventfd at a null address always fails; the error tells what we need to know about the ring.
const char *refused_by_kernel(int fd) {
  const long entered = sys(SYS_io_uring_enter, fd, 0, 0, 0, nullptr, 0);
  if (entered == -EBADFD) return "that is not enabled yet (IORING_SETUP_R_DISABLED)";
  if (entered == -EOWNERDEAD) return "whose kernel thread (SQPOLL) has ended";
  switch (sys(SYS_io_uring_register, fd, IORING_REGISTER_EVENTFD, nullptr, 1)) {
    case -EFAULT:
      return nullptr;
    case -EBUSY:
      return "with a registered eventfd";
    case -EEXIST:
      return ring_for_one_thread;
    case -EACCES:
      return "with restrictions";
    default:
      return "that accepts no registrations";
  }
}

bool plan_ring(Descriptor &d) {
  View view;
  bool polled = false;
  if (!view_ring(d, &view, &polled)) return false;

  d.ring = static_cast<Ring *>(engine.arena.take(sizeof(Ring)));
  if (!d.ring) return fail_arena();
  Ring &r = *d.ring;
  r = {};
  r.sq_entries = view.at.sq_entries;
  r.cq_entries = view.at.cq_entries;
  r.flags = (view.at.flags & no_indexes) | (polled ? unsigned(IORING_SETUP_SQPOLL) : 0);
  const uint32_t taken = view.sq_head();
  r.unsent = view.sq_tail() - taken;
  r.unread = view.cq_tail() - view.cq_head();
  if (taken != view.cq_tail() || r.unsent > r.sq_entries || r.unread > r.cq_entries)
    return refuse_ring(d, ring_in_flight);
  r.start = taken;
  if (!is_libuvs(view, taken, r.unsent)) {
    if (const char *why = refused_sizes(d, view, polled)) return refuse_ring(d, why);
    if (taken > most_no_ops) return refuse_ring(d, ring_with_many_requests);
  } else if (taken > many_no_ops) {
    if (!r.unsent && !r.unread && !counted_in_registers(taken))
      r.start = taken & (r.cq_entries - 1);
    else if (taken > most_no_ops) {
      engine.result.passes = true;
      return fail(EAGAIN)
                 << "descriptor " << d.fd
                 << " is an io_uring of a libuv loop that was busy each time it was checked; try again",
             false;
    }
  }
  return keep_contents(r, view);
}

bool plan_ring_mappings() {
  for (SharedMapping &m : engine.plan.shared)
    if (m.ring && m.ring_fd < 0)
      return fail(EOPNOTSUPP)
                 << "memory of an io_uring is mapped that belongs to no open descriptor, or holds "
                    "registered buffers, which can't be cloned: unmap it first",
             false;
  return true;
}

bool is_polled(const Descriptor &d) { return d.ring->flags & IORING_SETUP_SQPOLL; }

bool rebuild_ring(Descriptor &d) {
  const Ring &r = *d.ring;
  io_uring_params layout;
  const long fd = make_ring(r.sq_entries, r.cq_entries, r.flags, &layout);
  if (fd < 0)
    return fail_descriptor((int)-fd, d) << "io_uring_setup is refused in the clone (error " << -fd
                                        << "; sysctl kernel.io_uring_disabled?)",
           false;
  View view;
  if (long err; (err = view.map_rings(fd, layout)) < 0 || (err = view.map_requests(fd)) < 0)
    return place((int)err, d);
  for (uint32_t i = 0; view.has_indexes() && i < r.sq_entries; i++) view.indexes()[i] = i;
  if (!hand_in_no_ops(fd, view, r.start))
    return fail_descriptor(EIO, d) << "a new ring can't be brought to the same counts in the clone", false;
  memcpy((char *)view.sqes, r.sqes, view.sqes_size);
  memcpy(view.cqes(), r.cqes, view.cqes_size());
  if (r.indexes) memcpy(view.indexes(), r.indexes, r.sq_entries * sizeof(uint32_t));
  view.sq_tail() = r.start + r.unsent;
  view.cq_head() = r.start - r.unread;
  sys(SYS_fcntl, fd, F_SETFL, d.flags);
  return map_over(fd, d) && place_with_duplicates((int)fd, d);
}

}  // namespace gridcentric::live_clone
