// The sequence of a live clone. Start reading here. Each stage, and what it guarantees once it has succeeded:
//
//   preflight    (live_clone.cpp)  nothing is open or running that cannot be cloned, as far as that shows from outside
//   park         (parker.cpp)      every thread is stopped at a point from which it can go on, here and in a clone
//   gather       (tree/)           of a tree: so is every process below, which does the same for itself from here on
//   plan         (thread_words, memory, descriptors, timers)
//                                  everything that a fork copies not at all, too little or too much is recorded; the
//                                  master is unchanged except for SO_REUSEPORT on its listeners, MADV_DOFORK on its memory,
//                                  and receive buffers that had to be made larger
//   fork         (spawner.cpp)     of one clone: it exists and has its own memory, sockets and files; likewise of several, if
//                                  the program has private folders (private_files.cpp)
//                (frozen_copy.cpp) of several: the copy exists and needs the master no more
//   release      (parker.cpp)      the master's threads run again; this is the end of the pause
//   search       (lock_owners.cpp) plain mode: the copy, or the one clone, knows which locks its threads hold
//   receive      (frozen_copy.cpp) of several: the copy has made the clones and has ended
//   ready        (rebuild.cpp)     every clone has its threads, epoll sets, timers and locks, and waits at the gate
//
// A failure at any stage kills what was made, releases the threads and leaves the master as it was: all or
// none. Between park and release nothing may allocate, lock, throw or touch TLS: see sys.hpp.
#include "descriptor.hpp"
#include "private_files.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {

Engine engine;

Text fail(int err) {
  static char ignored[sizeof engine.result.failure.what];
  const bool first = engine.result.failure.err == 0;
  if (first) engine.result.failure.err = err;
  return Text(first ? engine.result.failure.what : ignored, sizeof engine.result.failure.what);
}

bool fail_arena() {
  fail(ENOBUFS) << "the engine's memory is too small";
  return false;
}

Text note() {
  Engine &e = engine;
  static char lost[text_size];
  if (e.result.notes_used + sizeof lost > notes_size) {
    e.result.notes_lost++;
    return Text(lost, sizeof lost);
  }
  return Text(e.result.notes + e.result.notes_used, sizeof lost);
}

void end_note(const Text &text) {
  Engine &e = engine;
  const char *end = text.end();
  if (end < e.result.notes || end >= e.result.notes + notes_size) return;
  e.result.notes[end - e.result.notes] = '\n';
  e.result.notes_used = size_t(end - e.result.notes) + 1;
}

namespace {

bool stage(double *ms, bool (*run)()) {
  const double start = now_ms();
  const bool ok = run();
  *ms += now_ms() - start;
  return ok;
}

bool copy() {
  if (!take_pidfds()) return false;
  if (tree::whole()) tree::begin(tree::copying);  // each clone as soon as it has namespaces
  if (!engine.from_the_master()) return make_frozen_copy();
  return spawn_clones() && tree::others_are(tree::joined, engine.order->park_timeout_ms) &&
         wait_for_all(state_detached, copying_limit_ms());
}

std::atomic<int> busy_pid;  // the process in which a clone() runs or clones are held

}  // namespace

bool wait_for_all(CloneState state, int limit_ms) {
  return tree::whole() ? tree::wait_for_copies(state, limit_ms) : wait_for_clones(state, limit_ms);
}

bool take_engine() {
  const int me = (int)sys(SYS_getpid);
  int owner = busy_pid;
  if (owner == me) return false;
  return busy_pid.compare_exchange_strong(owner, me);
}

void leave_engine() { busy_pid = 0; }

bool plan_process() {
  return plan_threads() && plan_memory() && plan_private_files() &&
         stage(&engine.result.descriptors_ms, plan_descriptors) && plan_timers();
}

int copying_limit_ms() {
  bool much = engine.prepared.private_folder_count || copies_shared_memory();
  for (int i = 0; tree::whole() && i < tree::page().count; i++)
    much = much || tree::page().processes[i].mappings;
  return much ? copying_timeout_ms : engine.order->park_timeout_ms;
}

bool run_parked_stages() {
  Engine &e = engine;
  const double start = now_ms();
  bool ok = stage(&e.result.park_ms, park_threads);
  settle_deadlines();  // also for threads that are released because others could not be stopped
  ok = ok && (!tree::whole() || tree::gather()) && stage(&e.result.plan_ms, plan_process) &&
       stage(&e.result.dofork_ms, allow_fork_everywhere) &&
       tree::others_are(tree::planned, e.order->park_timeout_ms);
  // A clone starts from here too: in it, the caller's thread returns from the save a second time.
  if (ok && arch::gc_context_save(&e.plan.threads[0].context) != 0) return true;
  ok = ok && stage(&e.result.fork_ms, copy);
  if (!ok) kill_clones();
  if (tree::whole()) tree::begin(ok ? tree::released : tree::given_up);
  release_threads();
  e.result.pause_ms = now_ms() - start;
  return ok;
}

bool run_last_stages() {
  const bool ok = (engine.from_the_master() || receive_clones()) && wait_for_all(state_ready, -1);
  if (!ok) kill_clones();
  if (!ok && tree::whole()) tree::begin(tree::given_up);
  return ok;
}

}  // namespace gridcentric::live_clone
