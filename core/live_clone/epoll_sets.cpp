// epoll sets: their entries are read in the parked master and registered again in the clone. Runs while threads are parked,
// or in a clone whose threads do not run yet: see sys.hpp.
#include "epoll_sets.hpp"

#include <linux/kcmp.h>

#include "descriptor.hpp"

namespace gridcentric::live_clone {

const char *next_registration(const char *text, Registration *entry, unsigned long *inode) {
  const auto value = [](const char *at, size_t skip, bool hexadecimal) {
    at += skip;
    while (*at == ' ') at++;
    unsigned long v;
    hexadecimal ? parse_hex(at, &v) : parse_dec(at, &v);
    return v;
  };
  for (const char *p = text; *p; p = next_line(p)) {
    const char *events = after(p, "tfd:") ? find_in_line(p, "events:") : nullptr;
    const char *data = events ? find_in_line(p, "data:") : nullptr;
    const char *file = data ? find_in_line(data, "ino:") : nullptr;
    if (!file) continue;
    *entry = {(int)value(p, 4, false), (uint32_t)value(events, 7, true), value(data, 5, true)};
    *inode = value(file, 4, true);
    return next_line(p);
  }
  return nullptr;
}

bool still_registered(int pid, int set, int fd) {
  struct {
    uint32_t set, fd, nth;
  } slot{(uint32_t)set, (uint32_t)fd, 0};
  const long same = sys(SYS_kcmp, pid, pid, KCMP_EPOLL_TFD, fd, &slot);
  return same == 0 || same == -EPERM || same == -ENOSYS || same == -EOPNOTSUPP;
}

Text &tell_lost_registrations(Text &text, int fd, size_t count) {
  return text << "descriptor " << fd << ": epoll, " << count
              << (count == 1 ? " registration of a closed descriptor is lost"
                             : " registrations of closed descriptors are lost");
}

bool plan_epoll(Descriptor &d) {
  const char *info = fdinfo(d);
  if (!info) return false;
  d.epoll.first = (uint32_t)engine.plan.registrations.count;
  size_t stale = 0;
  Registration entry{};
  unsigned long inode = 0;
  while ((info = next_registration(info, &entry, &inode))) {
    const Descriptor *target = descriptor_of_fd(entry.fd);
    if (!target || target->inode != inode || !still_registered(engine.prepared.pid, d.fd, entry.fd)) {
      stale++;
      continue;
    }
    Registration *kept = engine.plan.registrations.add(engine.arena);
    if (!kept) return fail_arena();
    *kept = entry;
    d.epoll.count++;
  }
  if (!stale) return true;
  Text text = note();
  end_note(tell_lost_registrations(text, d.fd, stale));
  return true;
}

bool rebuild_epoll(Descriptor &d) {
  return place_with_duplicates((int)sys(SYS_epoll_create1, EPOLL_CLOEXEC), d);
}

bool register_all() {
  for (Descriptor &d : engine.plan.descriptors) {
    if (d.kind != Kind::epoll || d.same_as >= 0) continue;
    for (uint32_t i = 0; i < d.epoll.count; i++) {
      const Registration &r = engine.plan.registrations[d.epoll.first + i];
      epoll_event event{};
      event.events = r.events;
      event.data.u64 = r.data;
      const long done = sys(SYS_epoll_ctl, d.fd, EPOLL_CTL_ADD, r.fd, &event);
      if (done < 0)
        return fail_descriptor((int)-done, d) << "epoll_ctl of descriptor " << r.fd << " failed", false;
    }
  }
  return true;
}

}  // namespace gridcentric::live_clone
