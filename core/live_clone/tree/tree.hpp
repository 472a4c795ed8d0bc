// A process and all that is below it, cloned together. Each process runs the engine on itself, as for a clone of it alone: the
// root because its thread calls clone(), the others because the root sends their main thread a signal (gather.cpp, member.cpp).
// What is new is what lies between processes, and who waits for whom:
//
//   gather      (gather.cpp)    every process below the root is stopped, and so makes no new ones
//   exchange    (objects.cpp)   each has told what it has open; each finds what it shares with others, and who makes it anew
//   freeze      (frozen.cpp)    for several clones there is a frozen copy of each process, and the program goes on
//   join        (join.cpp)      the copies of the others come into the namespaces that the root's spawner has made
//   offers      (objects.cpp)   in a clone: one copy makes a shared object, the others take it from there
//   children    (children.cpp)  in a clone: parents can wait for the copies of their children
//
// pidns mode only. What is said in live_clone.hpp and stages.cpp about all or none holds for the tree. Runs while threads are
// parked: see sys.hpp.
#pragma once

#include "../engine.hpp"
#include "family.hpp"
#include "page.hpp"

namespace gridcentric::live_clone {
struct Descriptor;
}

namespace gridcentric::live_clone::tree {

/// A wait for another process looks now and then whether it has died: sooner where the program stands still meanwhile.
inline constexpr int look_again_ms = 20, look_soon_ms = 5;

/// Is a tree cloned, or one process?
inline bool whole() { return engine.prepared.tree != nullptr; }
inline bool is_member() { return whole() && engine.prepared.process > 0; }
inline Page &page() { return *engine.prepared.tree; }
inline Process &self() { return page().processes[engine.prepared.process]; }
/// In a copy: which clone it is part of, from 0 on; frozen copies are one, too.
inline int own_clone() { return engine.result.frozen ? page().clones : engine.result.index - 1; }

// ---- prepare.cpp, in the root
/// What the processes share, anew for each try: some may still look at that of the one before. False: there is no room for it.
bool lay_out();
void forget();

// ---- gather.cpp, in the root
/// Stops every process below. False when one can't be stopped, or can't be cloned.
bool gather();

// ---- progress.cpp, in the root
/// False when one of the others has failed or died, or a clone has. `missing`: some are not in this state yet.
bool others_live(ProcessState state, bool *missing);
/// Waits until all others are in this state. False when one has failed or died.
bool wait_for_others(ProcessState state, double deadline);
/// The same for at most `limit_ms`; true where one process is cloned, and no tree.
inline bool others_are(ProcessState state, int limit_ms) {
  return !whole() || wait_for_others(state, now_ms() + limit_ms);
}
void begin(Phase phase);
/// Waits until all copies, also the root's, are at least in `state`. False when one has failed or died. Negative: no limit.
bool wait_for_copies(CloneState state, int timeout_ms);

// ---- member.cpp
/// Says how far this process has come, to the root. Nothing in the root.
void report(ProcessState state);
/// Says that it has failed, and why.
void fail_to_root();
/// Waits for the root. False when it has given up or died.
bool wait_for_root(Phase phase);
bool has_root_gone();

// ---- frozen.cpp
/// Below the root: makes the frozen copy. The root waits for it.
bool make_frozen_member();
/// In a frozen copy that has detached: waits until all have, and the program goes on. False: it has given up or died.
bool wait_until_all_are_frozen();
/// In a frozen copy: others may take from it what both share.
void let_others_take();

// ---- objects.cpp
/// Tells the others what this process has open, and waits until all have. Then finds what others make anew.
bool exchange();
/// Is it one of the root's standard streams?
bool is_roots_stream(const Descriptor &d);
/// What others of the tree hold of a pipe: their ends, and the first process that has one (INT32_MAX: none), or a reading end.
struct PipeElsewhere {
  int ends, first, first_reader;
  int streams;  ///< the ends that are the root's standard streams, for the others
};
PipeElsewhere pipe_elsewhere(uint64_t device, uint64_t inode);
/// The first process that has a socket open, -1: none has.
int holder_of_socket(uint64_t device, uint64_t inode);
/// The first other process that has an object of shared memory, INT32_MAX: none.
int first_with_memory(uint64_t device, uint64_t inode, bool *writable);

/// How long one copy waits for what another of its clone does.
inline constexpr double offer_timeout_ms = 20'000;
/// In a copy: waits a moment for the word to change from `value`. False: it has taken too long, all is given up, or one of those
/// that it may wait for has died.
bool wait_for_word(const std::atomic<int> &word, int value, double deadline);
/// A descriptor of another process, in a copy of the other's copy, as one of this process's; or -errno.
long fetch(int process, int fd);

// ---- connections.cpp
/// In the root, when all have told what they have open: finds the TCP connections between them.
void settle_connections();
/// Is `d` an end of one? Then it becomes tcp_across. `place`: which open file of this process it is.
bool plan_across(Descriptor &d, int place);
/// When all are planned: does this process make some in the clones?
void count_connections();
/// Has a process a listener on this port?
bool is_listening(uint16_t port);
/// In a copy: where the processes of its clone listen, for those that connect to it.
void tell_ports();
/// In a copy: the listeners may share the ports of connections only when all of these are made.
bool connections_are_made();
bool rebuild_tcp_across(Descriptor &d);
/// What was under way.
bool complete_tcp_across();
/// When all copies have got what was under way.
void shut_connections();

// ---- datagrams.cpp
/// The port to which a UDP socket of the tree is bound that `fd` is connected to by a loopback address; 0: none is.
uint16_t port_of_own(int fd);
/// What waits to be read from a UDP socket and was sent by one of the tree.
bool copy_datagrams(Descriptor &d);
/// In a copy: sends it again, from the copies of those sockets.
bool send_datagrams();

// ---- terminals.cpp
/// Its group, session and controlling terminal.
void tell_session(Process &self);
/// Is its controlling terminal made anew in clones?
bool has_own_terminal(const Process &process);
/// Is `d` a side of a pseudo-terminal of which processes of the tree have both? Then it becomes pty_across or pty_joined.
void match_terminal(Descriptor &d);
bool rebuild_pty_across(Descriptor &d);
bool rebuild_pty_joined(Descriptor &d);
/// In a copy, when it has its descriptors: the leader of a session gets it; others must not keep the master's.
bool settle_controlling_terminal();

// ---- objects.cpp
/// In a copy: holds descriptors ready for the others, until close_offers(). Takes them over.
bool offer(uint64_t device, uint64_t inode, bool memory, int first, int second = -1);
/// Waits for what another copy of this clone offers, and takes one of its ends, as a new descriptor; or -errno.
long take(int process, uint64_t device, uint64_t inode, bool memory, int end);
/// All descriptors are under their numbers: others may take theirs.
void descriptors_are_in_place();
void close_offers();
bool rebuild_fetched(Descriptor &d);
/// Of a clone's private folders: the root's copy has mounted them; the others wait for it and enter its mount namespace.
void folders_are_mounted();
bool enter_folders_of_root();

// ---- join.cpp
/// In the root's helper: this clone's namespaces are there.
void let_join(int clone, int reaper);
/// Copies this process into every clone's namespaces.
bool join_clones();

// ---- children.cpp, in a copy
/// Waits until all copies of this clone have their threads.
bool wait_until_whole();
/// First of all: begins the group or session that it leads.
void begin_group();
/// Its place among the groups of processes, its children, pidfds of others.
bool rebuild_family();
/// The gate of those below the root, which the root's copy opens when it has passed its own one.
void open_gate();
void wait_for_commit();

/// What this process knows its children by.
void tell_children(Process &self);

// ---- member.cpp, outside a call
/// What expect_signal() (live_clone.hpp) has made ready.
extern const Order *order_of_member;
extern LibcLayout libc_of_member;
extern void (*repair_of_member)();
/// For parker.cpp's handler: is it the root's signal? Then this process is copied, and true is returned, in the copies too.
bool on_signal(const siginfo_t *info, ucontext_t *frame);

}  // namespace gridcentric::live_clone::tree
