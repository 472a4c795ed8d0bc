// One open descriptor of the master and what has to be known to give the clone one like it. The table of
// kinds, in the order in which a clone rebuilds them, is in descriptors.cpp; sockets are in sockets.cpp,
// tcp_pairs.cpp and unix_sockets.cpp.
#pragma once

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "engine.hpp"
#include "epoll_sets.hpp"

namespace gridcentric::live_clone {

/// In the order of rebuilding: sockets first, so that a clone answers on its address early; sets of others
/// last.
enum class Kind : int {
  tcp_pair,    ///< TCP, both ends are ours; before the listeners, with which they share ports
  tcp_across,  ///< of a tree: the other end is another process's
  listener,    ///< TCP, listening
  udp,
  tcp_idle,  ///< TCP, neither connected nor listening
  tcp_dead,  ///< TCP, connected to somebody else: lives on in the master
  unix_listener,
  unix_pair,    ///< both ends are ours
  unix_across,  ///< of a tree: the other end is another process's
  unix_dead,    ///< connected to somebody else
  unix_idle,    ///< neither
  netlink,
  pipe,         ///< both ends are ours
  pipe_joined,  ///< of a tree: a process before this one makes the pipe anew
  pipe_dead,    ///< the other end is somebody else's
  pty,          ///< both sides are ours
  pty_across,   ///< of a tree: a master whose other side other processes have, too
  pty_joined,   ///< of a tree: another side of one that a process of it makes anew
  pty_dead,     ///< a master whose other side is somebody else's
  event,
  timer,
  signals,
  inotify,
  process,        ///< a pidfd
  ring,           ///< io_uring
  file,           ///< regular file or directory: opened again, with an offset of its own
  shared_memory,  ///< memfd, or a file in memory: copied (memory.cpp)
  epoll,
  fetched,  ///< of a tree: another process of it makes the open file anew
  kept,     ///< stays shared with the master, as after fork()
};

struct Connection;
struct Ring;
struct PtyState;

/// What is known of one. Which member of the union holds depends on the kind; changing the kind within a group (pipe to
/// pipe_dead, say) keeps it.
struct Descriptor {
  int fd;
  Kind kind;
  int same_as;    ///< index of the lowest descriptor of the same open file (dup), -1: this is it
  int next_same;  ///< the next duplicate, -1: none
  int flags, descriptor_flags;  ///< F_GETFL, F_GETFD
  uint64_t inode, device;
  const char *private_path;  ///< file: where the clone has its own one (private_files.cpp); null: it has not
  const char *folder_path;   ///< file: a folder from which paths lead to private ones; null: it is none

  /// Bytes in flight: for Unix sockets as many messages as `size` says (unix_sockets.cpp).
  struct InFlight {
    char *data;
    size_t size;
  };
  struct Socket {
    int family, type, protocol;
    int peer;             ///< tcp_pair, unix_pair: index of the other end; -1: none of ours
    uint32_t peer_inode;  ///< Unix
    int peer_process;     ///< tcp_across, unix_across
    int other_end;        ///< tcp_across: in a clone, a descriptor of it until what was under way is there
    int backlog;          ///< listener
    uint16_t port;        ///< listener, udp, tcp_idle: on the clone's address (host byte order), 0: none
    sockaddr_in6 *to;     ///< udp: where it is connected to (also an IPv4 address), null: nowhere
    uint16_t to_own;      ///< udp, of a tree: it is connected to a process of it, at this port; 0: it is not
    int shut;             ///< tcp_pair, tcp_across: halves, see tcp_ends.hpp
    const Connection *was;  ///< tcp_pair, tcp_across: its names; null: another process has ended it
    InFlight waiting;       ///< to be read from it
  };
  struct Pipe {
    int next;    ///< index of the next open file of the same pipe, -1: none
    bool leads;  ///< the first one of ours: rebuilds the others
    int capacity;
    int maker;    ///< pipe_joined: the process that makes it
    bool fills;   ///< this process has what waits in it
    bool shared;  ///< pipe: other processes of the tree have it too
    InFlight waiting;
  };
  struct Terminal {
    int next;    ///< index of the next open file of the same pseudo-terminal, -1: none
    bool leads;  ///< the master side that rebuilds the others
    unsigned number;
    int maker;        ///< pty_joined: the process that makes it
    PtyState *state;  ///< pty_across
  };
  struct Event {
    uint64_t count;
    bool semaphore;
  };
  struct Timer {
    int clock;
    uint64_t ticks;
    itimerspec setting;
  };
  struct Inotify {
    uint64_t *watches;  ///< a bit for each number that a watch has
    uint32_t highest;
  };
  struct File {
    uint64_t map_device;  ///< device as /proc/self/maps writes it
    uint64_t size;
    int64_t offset;
    int seals;
    bool locked;     ///< a file lock was set through it
    bool read_only;  ///< a lock on the file stays the master's
    bool rebuilt;    ///< shared_memory: with another descriptor of it
  };
  struct Epoll {
    uint32_t first, count;  ///< of the registrations
  };
  enum class Whose : int { others, child, program };
  struct PidFd {
    Whose whose;
    int pid;
  };
  struct Fetched {
    int process, fd;  ///< the open file as that process has it
  };

  union {
    Socket socket;      ///< tcp_*, listener, udp, unix_*, netlink
    Pipe pipe;          ///< pipe, pipe_dead
    Terminal terminal;  ///< pty*
    Event event;
    Timer timer;
    uint64_t signal_mask;  ///< signals
    Inotify inotify;
    PidFd process;
    Fetched fetched;
    Ring *ring;
    File file;  ///< file, shared_memory
    Epoll epoll;
  };
};

/// A MAP_SHARED mapping of memory that belongs to the program: anonymous, memfd, System V, /dev/shm, unlinked
/// file, or of a ring. Mappings of one object have the same device and inode and stay mappings of one object in the
/// clone.
struct SharedMapping {
  uint64_t start, end, offset, device, inode;
  int protection;
  bool ring;    ///< of an io_uring: made again by io_uring.cpp
  int ring_fd;  ///< of which one, -1: not known
  bool stays;   ///< it is a file's after all
  bool done;    ///< in a clone: it has its own
};

// ---- refusals.cpp: null when it can be cloned
/// Refusal text for what an open file is (its /proc/self/fd link).
const char *refused_file(const char *link);
/// The same for what a mapping shows, by its name in /proc/self/maps.
const char *refused_mapping(const char *name, bool shared);
/// Is it a ring, by its link or its mapping's name?
bool is_ring(const char *name);
/// The same for a ring, by its fdinfo.
const char *refused_ring(const char *fdinfo);
extern const char *const ring_in_flight;
extern const char *const ring_without_memory;
extern const char *const ring_with_large_requests;
extern const char *const ring_with_many_requests;
extern const char *const ring_for_one_thread;
extern const char *const small_polled_ring;
/// Requests that a new ring can be brought level with, by no-ops.
inline constexpr uint32_t most_no_ops = 65536;
/// The same for a socket's family and type.
const char *refused_socket(int family, int type, int protocol);
/// How it is said of a descriptor; `more` is a second half of `what`.
Text &tell_refused(Text &text, int fd, const char *what, const char *more = "");
Text &tell_refused_mapping(Text &text, const char *why, const char *name);

/// memory.cpp: is it memory of the program's that is mapped MAP_SHARED and writable?
bool is_mapped_shared(const Descriptor &d);
/// It is a file after all: its mappings stay as they are.
void leave_mapped(const Descriptor &d);

// ---- descriptor_table.cpp
/// Fills engine.plan.descriptors, sorted by number, with kinds, duplicates and peers. False when something is
/// refused.
bool read_descriptor_table();
/// By its number, or null.
Descriptor *descriptor_of_fd(int fd);
/// Does it stay shared as one of the program's standard streams?
bool is_standard(int fd);
/// The lowest descriptor of a file, or null.
Descriptor *descriptor_of_inode(uint64_t device, uint64_t inode);
/// Puts a fresh descriptor in the place of d and closes the fresh one. Takes d's close-on-exec flag.
bool place(int fresh, const Descriptor &d);
/// The same, and again for every duplicate of d.
bool place_with_duplicates(int fresh, const Descriptor &d);
/// In the frozen copy: keeps the number, but not the open file, which the master must be able to close for good.
bool let_go(Descriptor &d);
/// Text naming d for an error.
Text fail_descriptor(int err, const Descriptor &d);

// ---- descriptors.cpp
/// Its /proc/self/fdinfo, in the scratch; null with a failure recorded when it can't be read.
const char *fdinfo(const Descriptor &d);
/// The number behind a key of it, 0 when there is none.
unsigned long number_in(const char *info, const char *key, bool hexadecimal = false);

// ---- pipes.cpp
/// Finds what is inside, what stays shared and what is a dead end. `order`: indexes of all descriptors, those of one
/// file side by side.
void match_pipes(const int *order, size_t count);
bool plan_pipe(Descriptor &d);
bool rebuild_pipe(Descriptor &d);
bool plan_joined_pipe(Descriptor &d);
bool rebuild_joined_pipe(Descriptor &d);
bool plan_pipe_dead(Descriptor &d);
bool rebuild_pipe_dead(Descriptor &d);

// ---- pidfds.cpp
bool plan_pidfd(Descriptor &d);
bool rebuild_pidfd(Descriptor &d);

// ---- ptys.cpp
/// False if it is neither side of a pseudo-terminal.
bool classify_pty(Descriptor &d, uint64_t device_number);
void match_ptys();
bool plan_pty(Descriptor &d);
bool rebuild_pty(Descriptor &d);
bool plan_pty_dead(Descriptor &d);
bool rebuild_pty_dead(Descriptor &d);

/// The pseudo-terminal of which the device is the other side than the master's; -1: of none.
int number_of_pty(uint64_t device);
/// In a clone: a master side in the same file system as d's; or -errno.
long fresh_master(const Descriptor &d);
/// Opens the other side of a master; or -errno.
long other_side(int master, int flags);

// ---- files.cpp
int reopening_flags(const Descriptor &d);
bool plan_file(Descriptor &d);
/// In the frozen copy: its own one, if it is locked.
bool freeze_file(Descriptor &d);
bool rebuild_file(Descriptor &d);

// ---- file_locks.cpp
/// False when a transaction is under way: then engine.result.locked_fd is a descriptor of it.
bool plan_file_locks();
bool rebuild_file_locks();
/// Asked between two tries, while threads run: may clone() try again?
bool is_transaction_over(int fd);

// ---- io_uring.cpp
/// What no file of /proc shows, and the kernel says when asked; null: nothing. Changes nothing in the ring. Before Linux
/// 5.18 it waits until no request is under way.
const char *refused_by_kernel(int fd);
bool plan_ring(Descriptor &d);
/// When all rings are planned: is there memory of another?
bool plan_ring_mappings();
bool rebuild_ring(Descriptor &d);
/// Is there a thread of the kernel that takes its requests?
bool is_polled(const Descriptor &d);

// ---- epoll_sets.cpp
bool plan_epoll(Descriptor &d);
bool rebuild_epoll(Descriptor &d);
/// When all descriptors are in place: what was registered.
bool register_all();

// ---- watches.cpp
bool plan_inotify(Descriptor &d);
bool rebuild_inotify(Descriptor &d);
/// The numbers of the master's watches are used up, and its program is told that these have ended.
bool end_watches(Descriptor &d);

// ---- sockets.cpp
bool classify_socket(Descriptor &d);
bool plan_listener(Descriptor &d);
bool plan_tcp_idle(Descriptor &d);
bool plan_udp(Descriptor &d);
/// In the frozen copy: its own socket with the same options, bound to nothing.
bool freeze_socket(Descriptor &d);
bool freeze_udp(Descriptor &d);
bool rebuild_listener(Descriptor &d);
bool rebuild_udp(Descriptor &d);
bool rebuild_tcp_idle(Descriptor &d);
bool rebuild_tcp_dead(Descriptor &d);
bool rebuild_netlink(Descriptor &d);
/// In a clone: its address (host byte order).
uint32_t clone_address();
int socket_option(int fd, int level, int option);
void set_socket_option(int fd, int level, int option, int value);
struct SocketOption {
  int family;  ///< 0: any
  int level, name;
  unsigned size;
};
void copy_option(int from, int to, const SocketOption &o);
/// Limits of waiting, buffers' sizes and what else a socket like d takes over from the one it replaces.
void copy_options(int from, int to, const Descriptor &d);

// ---- tcp_pairs.cpp
/// For the clones: the names that an end has now.
bool remember_names(Descriptor &d);
/// In the frozen copy: a socket with the same options, connected to nobody.
bool freeze_connection(Descriptor &d);
/// Finds which TCP sockets are the two ends of a connection, and reads what is under way in them.
bool plan_tcp_pairs();
bool rebuild_tcp_pair(Descriptor &d);
/// When the clone need not be waited for any more: what was under way, and halves that are shut.
bool complete_tcp_pairs();

// ---- unix_sockets.cpp
extern const char *const descriptors_in_flight, *const path_stays;
/// The inode of the other end, by a socket that asks the kernel (NETLINK_SOCK_DIAG); 0: there is none. False: the kernel does
/// not tell, as it has no unix_diag, or the socket belongs to another network namespace.
bool unix_peer(int diag, uint32_t inode, uint32_t *peer);
/// Finds which Unix sockets are the two ends of a pair, and reads what is in flight in them.
bool plan_unix_sockets();
bool rebuild_unix_listener(Descriptor &d);
bool rebuild_unix_pair(Descriptor &d);
/// In the frozen copy: a socket with the same options, connected to nobody.
bool freeze_unix_across(Descriptor &d);
bool rebuild_unix_across(Descriptor &d);
bool freeze_unix_dead(Descriptor &d);
bool rebuild_unix_dead(Descriptor &d);
bool rebuild_unix_idle(Descriptor &d);

}  // namespace gridcentric::live_clone
