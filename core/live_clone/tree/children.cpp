// In a copy: its family. The copy of a child can't become the child of its parent's copy: a process is only ever made by its
// parent. It is a child of the clone's pid 1, gc-reaper. What stands for it is a small process, a real child of the parent's
// copy, which ends as the copy ends (gc-reaper tells it how); the wait family that `gc run` preloads (core/preload) translates
// between the two pids by the table here. A child that has ended already has such a process too.
//
// They are made when all threads of the clone have their ids, which must be free until then.
#include <sys/wait.h>

#include "../close_descriptors.hpp"
#include "../descriptor.hpp"
#include "tree.hpp"

namespace gridcentric::live_clone {

namespace {
Family own_family;
Family *family_in_use = &own_family;
}  // namespace

Family &family() { return *family_in_use; }
void use_family(Family *other) { family_in_use = other; }

namespace tree {
namespace {

Clone &own() { return page().clone(own_clone()); }

struct StandInTask {
  int pid;     ///< that it stands for
  int status;  ///< of a child that has ended, -1: it has not
  int group;
  long error;
};

void be_stand_in(void *argument) {
  auto &task = *static_cast<StandInTask *>(argument);
  if (task.group) sys(SYS_setpgid, 0, task.group);
  close_all_but(&engine.prepared.reaper, 1);
  char status[16], pid[16];
  Text(status, sizeof status) << task.status;
  Text(pid, sizeof pid) << task.pid;
  const char *argv[] = {"gc-reaper", "stand-in", status, pid, nullptr}, *envp[] = {nullptr};
  task.error = sys(SYS_execveat, engine.prepared.reaper, "", argv, envp, AT_EMPTY_PATH);
  task.error = sys(SYS_execve, Path("/proc/self/fd/", engine.prepared.reaper).text, argv, envp);
  for (;;) sys(SYS_exit_group, 1);
}

bool make_stand_in(int pid, int group, int status, char *stack_top) {
  StandInTask task{pid, status, group, 0};
  // Its exit signal is the one that the program expects of a child.
  const long r = arch::gc_task_clone(CLONE_VM | CLONE_VFORK | SIGCHLD, stack_top, nullptr, nullptr, 0,
                                     be_stand_in, &task);
  if (r < 0 || task.error)
    return fail(r < 0 ? (int)-r : (int)-task.error) << "no process can be made that ends when child " << pid
                                                    << " ends (error " << (r < 0 ? -r : -task.error) << ")",
           false;
  const int n = family().count;
  if (n == Family::most) return fail(E2BIG) << "more than " << Family::most << " children", false;
  family().children[n].known = pid;
  family().children[n].real = (int)r;
  family().count = n + 1;
  if (status < 0) {
    const int k = own().stand_in_count++;
    own().stand_ins[k] = {pid, (int)r};
  }
  return true;
}

// A session can't be entered, and all of a group are in one: so a session of several processes stays the master's. If its
// terminal is made anew, its leader begins a new one nevertheless, and leaves the others behind.
bool begins_session(const Process &process) {
  int inside = 0;
  for (int i = 0; i < page().count; i++) inside += page().processes[i].session == process.session;
  return process.session == process.pid && (inside == 1 || has_own_terminal(process));
}

// Groups of processes are made anew, but for the root's, which stays in the master's: the terminal's signals reach it there.
// Returns whom the process follows into a group; 0: it stays in the one it is in. Of one whose leader is not there any more it
// is the first.
int leader_of_group(const Process &process) {
  int first = 0;
  if (process.group == page().processes[0].group) return 0;
  for (int i = 1; i < page().count; i++) {
    const Process &other = page().processes[i];
    if (other.group != process.group || begins_session(other)) continue;
    if (other.pid == other.group) return other.pid;
    if (!first) first = other.pid;
  }
  return first;
}

void join_group(const Process &me) {
  const int leader = leader_of_group(me);
  if (leader && leader != me.pid && !begins_session(me)) sys(SYS_setpgid, 0, leader);
}

bool has_pidfd_of(const Descriptor &d, int pid) { return d.kind == Kind::process && d.process.pid == pid; }

void renew_pidfds(int known, int real) {
  for (Descriptor &d : engine.plan.descriptors)
    if (d.same_as < 0 && has_pidfd_of(d, known)) place_with_duplicates((int)sys(SYS_pidfd_open, real, 0), d);
}

}  // namespace

void tell_children(Process &self) {
  int told = 0;
  for (int i = 0; i < family().count && told < most_told; i++)
    if (const Family::Child &child = family().children[i]; child.known > 0)
      self.told[told++] = {child.known, child.real};
  self.told_children = told;
}

bool wait_until_whole() {
  Clone &clone = own();
  const double deadline = now_ms() + offer_timeout_ms;
  const int me = ++clone.whole;
  if (me == page().count) return futex_wake(clone.whole), true;
  for (int n = me; n < page().count; n = clone.whole)
    if (!wait_for_word(clone.whole, n, deadline))
      return fail(ETIMEDOUT) << "other processes of the clone were not ready", false;
  return true;
}

void begin_group() {
  if (!is_member()) return;
  const Process &me = self();
  if (begins_session(me))
    sys(SYS_setsid);
  else if (leader_of_group(me) == me.pid)
    sys(SYS_setpgid, 0, 0);
}

bool rebuild_family() {
  const Process &me = self();
  const int index = engine.prepared.process;
  Page &p = page();
  join_group(me);
  tell_ports();
  family().count = 0;
  family().parent = me.parent >= 0 ? p.processes[me.parent].pid : 0;
  auto *stack = static_cast<char *>(engine.arena.take(helper_stack_size));
  if (!stack) return fail_arena();
  for (int i = 1; i < p.count; i++) {
    const Process &other = p.processes[i];
    if (other.parent != index) {
      renew_pidfds(other.pid, other.pid);
      continue;
    }
    const int before = family().count;
    if (!make_stand_in(other.pid, other.group == other.pid ? 0 : other.group, -1, stack + helper_stack_size))
      return false;
    renew_pidfds(other.pid, family().children[before].real);
  }
  for (int i = 0; i < p.ended_count; i++)
    if (p.ended[i].parent == index &&
        !make_stand_in(p.ended[i].pid, 0, p.ended[i].status, stack + helper_stack_size))
      return false;
  return true;
}

}  // namespace tree
}  // namespace gridcentric::live_clone
