// Pseudo-terminals between processes of the tree. In a clone the first process that has the master side makes it anew, with what
// waited in it, and offers it to all that have the other side. The leader of a session gets it as its controlling terminal, and is
// in the foreground. Others of the session can't have it: a copy comes into a session only with the process that it is forked from
// (join.cpp).
#include <sys/ioctl.h>

#include "../pty_state.hpp"
#include "tree.hpp"

namespace gridcentric::live_clone::tree {
namespace {

constexpr uint64_t terminals = UINT64_MAX;  // among the devices of what is offered

// The first process that has a side of it, -1: none has.
int holder_of(int number, Kind side) {
  for (int i = 0; i < page().count; i++)
    for (int k = 0; k < page().processes[i].open_files; k++)
      if (const OpenFile &f = page().open_files(i)[k];
          f.terminal == number && f.kind == (int)side && !f.stream)
        return i;
  return -1;
}

// The process that makes it in clones, -1: none does.
int maker_of(int number) {
  return number >= 0 && holder_of(number, Kind::pty) >= 0 ? holder_of(number, Kind::pty_dead) : -1;
}

Text fail_terminal(long r, const char *what) {
  return fail((int)-r) << "its controlling terminal, /dev/pts/" << self().terminal << ", can't be " << what
                       << " in the clone (error " << -r << ")";
}

bool take_terminal() {
  const int number = self().terminal;
  const long side = take(maker_of(number), terminals, (uint64_t)number, false, 1);
  const long r = side < 0 ? side : sys(SYS_ioctl, side, TIOCSCTTY, 0);
  if (side >= 0) sys(SYS_close, side);
  return r >= 0 || (fail_terminal(r, "made anew"), false);
}

// It is the master's: its Ctrl-C must not arrive here, nor /dev/tty lead there. It may have hung up meanwhile.
bool leave_terminal() {
  const long terminal = sys(SYS_openat, AT_FDCWD, "/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
  const long r = terminal < 0 ? terminal : sys(SYS_ioctl, terminal, TIOCNOTTY);
  if (terminal >= 0) sys(SYS_close, terminal);
  const bool gone = r == -ENXIO || r == -EIO || r == -ENOTTY;
  return r >= 0 || gone || (fail_terminal(r, "left"), false);
}

}  // namespace

void tell_session(Process &self) {
  self.group = (int)sys(SYS_getpgid, 0);
  self.session = (int)sys(SYS_getsid, 0);
  self.terminal = -1;
  char text[1024];
  if (read_file("/proc/self/stat", text, sizeof text) <= 0) return;
  unsigned long device = 0;
  if (const char *p = stat_field(text, 7)) parse_dec(p, &device);
  self.terminal = number_of_pty(device);
}

bool has_own_terminal(const Process &process) { return maker_of(process.terminal) >= 0; }

void match_terminal(Descriptor &d) {
  if ((d.kind != Kind::pty && d.kind != Kind::pty_dead) || is_roots_stream(d)) return;
  const int maker = maker_of((int)d.terminal.number);
  if (maker < 0) return;
  if (d.kind == Kind::pty)
    d.kind = Kind::pty_joined;
  else if (maker == engine.prepared.process)
    d.kind = Kind::pty_across;
  d.terminal.maker = maker;
}

bool rebuild_pty_across(Descriptor &d) {
  const long master = fresh_master(d);
  const long side = master < 0 ? master : other_side((int)master, O_RDWR | O_NONBLOCK);
  const long again = side < 0 ? side : sys(SYS_fcntl, master, F_DUPFD_CLOEXEC, 0);
  if (again < 0) return place((int)again, d);
  if (!give_pty_state((int)master, (int)side, *d.terminal.state))
    return fail_descriptor(EIO, d) << "what waits in it did not arrive in a new one", false;
  return offer(terminals, d.terminal.number, false, (int)again, (int)side) &&
         place_with_duplicates((int)master, d);
}

bool rebuild_pty_joined(Descriptor &d) {
  const long master = take(d.terminal.maker, terminals, d.terminal.number, false, 0);
  const long side = master < 0 ? master : other_side((int)master, d.flags);
  if (master >= 0) sys(SYS_close, master);
  return place_with_duplicates((int)side, d);
}

bool settle_controlling_terminal() {
  if (!is_member() || !has_own_terminal(self())) return true;
  return self().session == self().pid ? take_terminal() : leave_terminal();
}

}  // namespace gridcentric::live_clone::tree
