// The address space: what a fork must copy although the program forbade it (MADV_DONTFORK, as for V8's heap), what would
// stay shared although it is the program's own memory (MAP_SHARED, memfd), and what cannot be copied at all. Runs while
// threads are parked, or in a clone that has one thread: see sys.hpp.
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "descriptor.hpp"
#include "file_data.hpp"
#include "mapped_files.hpp"
#include "mappings.hpp"
#include "private_files.hpp"
#include "program_memory.hpp"
#include "tree/tree.hpp"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102  // Linux 6.13, of shared mappings 6.15
#define MADV_GUARD_REMOVE 103
#endif

namespace gridcentric::live_clone {

/// Pages of a SharedMapping that the program has turned into guards; there may be data under them.
struct Guards {
  uint64_t start, end;
};

namespace {

KernelPages kernel_pages;

// Mappings that make a process impossible to copy.
bool check_mapping(const MapsLine &m) {
  const char *n = m.name;
  const char *why = refused_mapping(n, m.permissions[3] == 's');
  if (!why) return true;
  char name[text_size];
  size_t i = 0;
  while (n[i] && n[i] != '\n' && i < sizeof name - 1) name[i] = n[i], i++;
  name[i] = 0;
  Text text = fail(EOPNOTSUPP);
  return tell_refused_mapping(text, why, name), false;
}

bool plan_mapping(const MapsLine &m, Space space) {
  Engine &e = engine;
  if (!check_mapping(m)) return false;
  if (m.permissions[3] != 's' || m.start == (uint64_t)e.prepared.status ||
      m.start == (uint64_t)e.prepared.tree)
    return true;
  const bool ring = is_ring(m.name);
  const PrivateFolder *unnamed = folder_of_unnamed(m.name);
  const uint64_t device = unnamed ? unnamed->device : m.device;
  if (!ring && !unnamed && !is_program_memory(m.name, device, space.start, space.size))
    return true;  // a file on a disk stays shared, like its contents
  SharedMapping *s = e.plan.shared.add(e.arena);
  if (!s) return fail_arena();
  *s = {m.start, m.end, m.offset, device, m.inode, protection_of(m), ring, -1, false, false};
  if (after(m.name, "/SYSV"))
    end_note(note() << "System V shared memory: each clone gets its own copy, on which shmdt fails");
  return true;
}

// Is any mapping of this object writable?
bool written(const SharedMapping &of) {
  bool elsewhere = false;
  tree::first_with_memory(of.device, of.inode, &elsewhere);
  if (elsewhere) return true;
  for (SharedMapping &m : engine.plan.shared)
    if (m.device == of.device && m.inode == of.inode && (m.protection & PROT_WRITE)) return true;
  return false;
}

// Opens the file again, because the descriptor's offset is shared with the master and all other clones.
bool copy_file(int source, int to, uint64_t size) {
  const long from = sys(SYS_openat, AT_FDCWD, Path("/proc/self/fd/", source).text, O_RDONLY | O_CLOEXEC, 0);
  const bool ok = from >= 0 && copy_data((int)from, to, size) == 0;
  sys(SYS_close, from);
  return ok;
}

// Skips pages that were never touched, or a sparse mapping would become a full one. With swap the kernel cannot tell which
// those are, so all pages are copied.
bool copy_through_mapping(const SharedMapping &m, int to) {
  if (!(m.protection & PROT_READ)) sys(SYS_mprotect, m.start, m.end - m.start, PROT_READ);
  auto *resident = reinterpret_cast<unsigned char *>(engine.scratch);
  const uint64_t most = engine.scratch_size * page_size;
  for (uint64_t at = m.start; at < m.end;) {
    const uint64_t piece = m.end - at < most ? m.end - at : most;
    const size_t pages = piece / page_size;
    if (engine.plan.swap_in_use || sys(SYS_mincore, at, piece, resident) < 0) memset(resident, 1, pages);
    for (size_t i = 0; i < pages;) {
      size_t run = i;
      while (run < pages && (resident[run] & 1)) run++;
      for (uint64_t from = at + i * page_size, end = at + run * page_size; from < end;) {
        const long n = sys(SYS_pwrite64, to, from, end - from, m.offset + (from - m.start));
        if (n < 0 && n != -EFAULT) return false;
        // A page that cannot be read lies beyond the end of the object: skip it.
        from = n > 0 ? from + (uint64_t)n : (from / page_size + 1) * page_size;
      }
      i = run + 1;
    }
    at += piece;
  }
  return true;
}

// Guards would hide the data under them from the copy, and a new mapping has none. They are looked for in the clone, which
// has the same ones as the master; a kernel that does not show them in pagemap does not support them in shared mappings.
bool take_guards_off() {
  auto *entries = reinterpret_cast<PageEntry *>(engine.scratch);
  const size_t capacity = engine.scratch_size / sizeof(PageEntry);
  const PageMap page_map;
  if (page_map.error()) return true;
  engine.plan.guards = {};
  for (const SharedMapping &m : engine.plan.shared) {
    Guards *open = nullptr;
    for (uint64_t at = m.start; at < m.end;) {
      size_t count = (m.end - at) / page_size;
      if (count > capacity) count = capacity;
      if (!page_map.read(at, entries, count))
        return fail(EIO) << "/proc/self/pagemap can't be read in the clone", false;
      for (size_t i = 0; i < count; i++, at += page_size) {
        if (!entries[i].guard()) continue;
        if (open && open->end == at) {
          open->end += page_size;
          continue;
        }
        open = engine.plan.guards.add(engine.arena);
        if (!open) return fail_arena();
        *open = {at, at + page_size};
      }
    }
  }
  for (const Guards &g : engine.plan.guards) {
    const long r = sys(SYS_madvise, g.start, g.end - g.start, MADV_GUARD_REMOVE);
    if (r < 0) return fail((int)-r) << "guard pages of shared memory can't be removed in the clone", false;
  }
  return true;
}

bool put_guards_back() {
  for (const Guards &g : engine.plan.guards) {
    const long r = sys(SYS_madvise, g.start, g.end - g.start, MADV_GUARD_INSTALL);
    if (r < 0) return fail((int)-r) << "guard pages of shared memory can't be made in the clone", false;
  }
  return true;
}

bool remap_object(uint64_t device, uint64_t inode, int fd) {
  for (SharedMapping &m : engine.plan.shared) {
    if (m.done || m.stays || m.device != device || m.inode != inode) continue;
    const long r =
        sys(SYS_mmap, m.start, m.end - m.start, m.protection, MAP_SHARED | MAP_FIXED, fd, m.offset);
    if (r < 0) return fail((int)-r) << "shared memory can't be mapped in the clone", false;
    m.done = true;
  }
  return true;
}

// Of a tree: the process before this one that has the object too, and makes it anew; -1: this one does. `others`: has anybody?
int maker_of_memory(uint64_t device, uint64_t inode, bool *others) {
  bool writable;
  const int first = tree::first_with_memory(device, inode, &writable);
  *others = first != INT32_MAX;
  return first < engine.prepared.process ? first : -1;
}

bool offer_memory(uint64_t device, uint64_t inode, int fd) {
  return tree::offer(device, inode, true, (int)sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0));
}

bool take_mapped_object(const SharedMapping &first, int maker) {
  const long fd = tree::take(maker, first.device, first.inode, true, 0);
  if (fd < 0)
    return fail((int)-fd) << "shared memory of another process is not available in the clone", false;
  const bool ok = remap_object(first.device, first.inode, (int)fd);
  sys(SYS_close, fd);
  return ok;
}

bool rebuild_mapped_object(SharedMapping &first) {
  bool others;
  if (const int maker = maker_of_memory(first.device, first.inode, &others); maker >= 0)
    return take_mapped_object(first, maker);
  const long fd = sys(SYS_memfd_create, "gridcentric-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return fail((int)-fd) << "memfd_create for a copy of shared memory", false;
  uint64_t size = 0;
  for (SharedMapping &m : engine.plan.shared)
    if (m.device == first.device && m.inode == first.inode && m.offset + (m.end - m.start) > size)
      size = m.offset + (m.end - m.start);
  bool ok = sys(SYS_ftruncate, fd, size) == 0;
  for (SharedMapping &m : engine.plan.shared)
    if (ok && m.device == first.device && m.inode == first.inode) ok = copy_through_mapping(m, (int)fd);
  if (!ok) return fail(ENOMEM) << "shared memory of " << (size >> 10) << " KiB can't be copied", false;
  ok = remap_object(first.device, first.inode, (int)fd) &&
       (!others || offer_memory(first.device, first.inode, (int)fd));
  sys(SYS_close, fd);
  return ok;
}

// A file in memory that a descriptor is open for, in the clone; or -errno, with a failure.
long rebuilt_object(const Descriptor &d) {
  bool others;
  const int maker = maker_of_memory(d.file.map_device, d.inode, &others);
  if (maker >= 0) {
    const long taken = tree::take(maker, d.file.map_device, d.inode, true, 0);
    if (taken < 0)
      fail((int)-taken) << "descriptor " << d.fd
                        << ": shared memory of another process is not available in the clone";
    return taken;
  }
  const long fd = sys(SYS_memfd_create, "gridcentric-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return fail((int)-fd) << "descriptor " << d.fd << ": memfd_create", fd;
  if (!copy_file(d.fd, (int)fd, d.file.size))
    return fail(ENOMEM) << "descriptor " << d.fd << ": " << (d.file.size >> 10)
                        << " KiB of shared memory can't be copied",
           -ENOMEM;
  if (d.file.seals) sys(SYS_fcntl, fd, F_ADD_SEALS, d.file.seals);
  if (others && !offer_memory(d.file.map_device, d.inode, (int)fd)) return -E2BIG;
  return fd;
}

}  // namespace

bool plan_memory() {
  const auto begin = [] { engine.plan.shared = {}; };
  if (!look_at_mappings(begin, plan_mapping, &kernel_pages)) return false;
  char swaps[256];
  const long s = read_file("/proc/swaps", swaps, sizeof swaps);
  engine.plan.swap_in_use = s == -ENOBUFS || (s > 0 && *next_line(swaps));
  return true;
}

bool is_mapped_shared(const Descriptor &d) {
  for (SharedMapping &m : engine.plan.shared)
    if (!m.stays && m.device == d.file.map_device && m.inode == d.inode && (m.protection & PROT_WRITE))
      return true;
  return false;
}

void leave_mapped(const Descriptor &d) {
  for (SharedMapping &m : engine.plan.shared)
    if (m.device == d.file.map_device && m.inode == d.inode) m.stays = true;
}

// MADV_DOFORK over everything in two calls: the pages of the vDSO refuse it and would end the sweep. Must come after
// parking, or a heap page mapped in between would be missing in the clones. It does not undo MADV_WIPEONFORK, so the state
// of the vDSO's getrandom (its pages are MAP_DROPPABLE, which implies that) is empty in a clone and its generator starts
// anew, as after fork().
bool allow_fork_everywhere() {
  Engine &e = engine;
  const auto [start, end] = kernel_pages;
  const long first = sys(SYS_madvise, 0, start ? start : arch::address_space_end, MADV_DOFORK);
  const long second = end ? sys(SYS_madvise, end, arch::address_space_end - end, MADV_DOFORK) : 0;
  const auto done = [](long r) { return r == 0 || r == -ENOMEM; };  // ENOMEM: there were gaps
  if (done(first) && done(second)) return true;
  if (first == -EPERM || first == -ENOSYS)
    return fail((int)-first) << "madvise is refused (error " << -first << "): a seccomp filter must allow it",
           false;
  const long n = read_file("/proc/self/maps", e.scratch, e.scratch_size);
  if (n == -ENOBUFS) return fail_arena();
  if (n < 0) return fail((int)-n) << "/proc/self/maps can't be read", false;
  MapsLine m;
  for (const char *p = e.scratch; *p;) {
    p = parse_maps_line(p, &m);
    sys(SYS_madvise, m.start, m.end - m.start, MADV_DOFORK);  // device memory refuses, but it needs no copy
  }
  return true;
}

bool copies_shared_memory() {
  for (const SharedMapping &m : engine.plan.shared)
    if (!m.stays && !m.ring) return true;
  return false;
}

void begin_rebuilding_anew() {
  for (SharedMapping &m : engine.plan.shared) m.done = false;
  for (Descriptor &d : engine.plan.descriptors)
    if (d.kind == Kind::shared_memory) d.file.rebuilt = false;
}

bool rebuild_memory() {
  if (!take_guards_off()) return false;
  for (Descriptor &d : engine.plan.descriptors) {
    if (d.kind != Kind::shared_memory || d.same_as >= 0 || d.file.rebuilt) continue;
    const long fd = rebuilt_object(d);
    if (fd < 0) return false;
    if (!remap_object(d.file.map_device, d.inode, (int)fd)) return false;
    // Each open file of the object gets a new open file, so that each keeps its offset.
    for (Descriptor &other : engine.plan.descriptors) {
      if (other.kind != Kind::shared_memory || other.same_as >= 0 || other.inode != d.inode ||
          other.device != d.device)
        continue;
      const long again =
          sys(SYS_openat, AT_FDCWD, Path("/proc/self/fd/", fd).text, reopening_flags(other), 0);
      if (again < 0)
        return fail((int)-again) << "descriptor " << other.fd << ": opening the copy of its memory", false;
      sys(SYS_lseek, again, other.file.offset, SEEK_SET);
      if (!place_with_duplicates((int)again, other)) return false;
      other.file.rebuilt = true;
    }
    sys(SYS_close, fd);
  }
  for (SharedMapping &m : engine.plan.shared)
    if (!m.done && !m.stays && !m.ring && written(m) && !rebuild_mapped_object(m)) return false;
  return put_guards_back();
}

}  // namespace gridcentric::live_clone
