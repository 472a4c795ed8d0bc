// Pseudo-terminals. A master side whose other side is open elsewhere (as in a terminal emulator, or a program that
// drives a shell) stays with the master and is a dead end in the clone: reads give end-of-file, writes EIO. If both sides
// are in the process, the clone gets its own pair with the same settings. A slave side alone is a terminal, which is shared
// like other devices. Runs while threads are parked, or in a clone with one thread: see sys.hpp.
#include <asm/termbits.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "descriptor.hpp"
#include "pipes.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr uint64_t controlling_terminal = 5 << 8, any_master = 5 << 8 | 2;  // /dev/tty, /dev/ptmx
constexpr unsigned first_slave_major = 136, last_slave_major = 143;

Descriptor *next_side(const Descriptor &d) {
  return d.terminal.next >= 0 ? &engine.plan.descriptors[(size_t)d.terminal.next] : nullptr;
}

// The settings of the old one, which is still open.
void take_settings(int fd, const Descriptor &d) {
  struct winsize size {};
  struct termios settings {};
  if (sys(SYS_ioctl, d.fd, TIOCGWINSZ, &size) == 0) sys(SYS_ioctl, fd, TIOCSWINSZ, &size);
  if (sys(SYS_ioctl, d.fd, TCGETS, &settings) == 0) sys(SYS_ioctl, fd, TCSETS, &settings);
}

}  // namespace

long fresh_master(const Descriptor &d) {
  const long fd = sys(SYS_openat, AT_FDCWD, Path("/proc/self/fd/", d.fd).text,
                      O_RDWR | O_NOCTTY | O_CLOEXEC | (d.flags & O_NONBLOCK), 0);
  const int unlocked = 0;
  if (fd >= 0) sys(SYS_ioctl, fd, TIOCSPTLCK, &unlocked);
  return fd;
}

long other_side(int master, int flags) {
  return sys(SYS_ioctl, master, TIOCGPTPEER, (flags & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY | O_CLOEXEC);
}

int number_of_pty(uint64_t device) {
  const unsigned which = major(device);
  return which < first_slave_major || which > last_slave_major
             ? -1
             : int((which - first_slave_major) * 256 + minor(device));
}

bool classify_pty(Descriptor &d, uint64_t device) {
  unsigned number = 0, terminal = 0;
  if (device == any_master) {
    if (sys(SYS_ioctl, d.fd, TIOCGPTN, &number) < 0) return false;
    d.kind = Kind::pty_dead;
    d.terminal = {-1, false, number, -1, nullptr};
    return true;
  }
  if (device == controlling_terminal && sys(SYS_ioctl, d.fd, TIOCGDEV, &terminal) == 0) device = terminal;
  if (number_of_pty(device) < 0) return false;
  d.kind = Kind::pty;
  d.terminal = {-1, false, (unsigned)number_of_pty(device), -1, nullptr};
  return true;
}

// Matches sides by their numbers. A side on descriptors 0 to 2 is shared, and so is every other open file of it.
void match_ptys() {
  auto &all = engine.plan.descriptors;
  for (Descriptor &d : all) {
    if (d.kind != Kind::pty || d.same_as >= 0) continue;
    bool standard = false;
    for (size_t i = 0; i < all.count; i++)
      standard |= is_standard(all[i].fd) && all[i].device == d.device && all[i].inode == d.inode;
    Descriptor *last = nullptr;
    for (size_t i = 0; !standard && !last && i < all.count; i++)
      if (all[i].same_as < 0 &&
          (all[i].kind == Kind::pty_dead || (all[i].kind == Kind::pty && all[i].terminal.leads)) &&
          all[i].terminal.number == d.terminal.number)
        last = &all[i];
    if (!last) {
      d.kind = Kind::kept;
      continue;
    }
    last->kind = Kind::pty;
    last->terminal.leads = true;
    while (next_side(*last)) last = next_side(*last);
    last->terminal.next = int(&d - all.items);
  }
}

bool plan_pty(Descriptor &d) {
  int waiting = 0;
  sys(SYS_ioctl, d.fd, FIONREAD, &waiting);
  if (waiting > 0)
    end_note(note() << "descriptor " << d.fd << ": pseudo-terminal, " << waiting << " bytes in flight lost");
  return true;
}

bool plan_pty_dead(Descriptor &d) {
  end_note(note() << "descriptor " << d.fd << ": " << dead_pty);
  return true;
}

bool rebuild_pty(Descriptor &master) {
  if (!master.terminal.leads) return true;
  const long fresh = fresh_master(master);
  if (fresh >= 0) take_settings((int)fresh, master);
  if (!place_with_duplicates((int)fresh, master)) return false;
  for (Descriptor *d = next_side(master); d; d = next_side(*d))
    if (!place_with_duplicates((int)other_side(master.fd, d->flags), *d)) return false;
  return true;
}

// A slave side whose master side has closed: reads give end-of-file, writes EIO, and no pseudo-terminal is used up. A master
// side without a slave would take bytes until it is full, then block for ever.
bool rebuild_pty_dead(Descriptor &d) {
  const long master = fresh_master(d);
  if (master < 0) return place((int)master, d);
  take_settings((int)master, d);
  const long other = other_side((int)master, d.flags);
  sys(SYS_close, master);
  return place_with_duplicates((int)other, d);
}

}  // namespace gridcentric::live_clone
