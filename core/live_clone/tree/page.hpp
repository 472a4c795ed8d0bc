// What the processes of a tree share while it is cloned: the root, whose thread calls clone(), and all that is below it. One
// file in memory, mapped by each of them and by their copies until the gate has opened. It says who there is, how far each has
// come, what each has open, and what one copy holds ready for the others of its clone. Plain data, and how it is laid out;
// what is done with it is in the other files of this folder.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "../status_page.hpp"
#include "../waits.hpp"

namespace gridcentric::live_clone::tree {

inline constexpr int most_processes = 256;  // the root included
inline constexpr size_t most_open_files = 4096, most_mappings = 1024, most_offers = 512;
inline constexpr int most_folders = 16;
inline constexpr int most_told = 128;

/// How far the root has come. The processes wait for it.
enum Phase : int { gathering = 0, planning, copying, released, given_up };

/// How far a process has come. The root waits for it.
enum ProcessState : int {
  called = 1,  ///< it has been sent the signal
  tabled,      ///< its threads are stopped, and it has said what it has open
  planned,
  frozen,  ///< there is a frozen copy of it, which makes its copies
  joined,  ///< its copies exist
  failed,
};

/// A child that is waited for under another pid; see children.cpp. gc-reaper reads these.
struct StandIn {
  int pid, stand_in;
};

struct Process {
  int pid, proc_pid;  ///< in the root's namespace; as /proc names it
  int parent;         ///< index of its parent, -1: outside
  int group, session;
  int terminal;  ///< the number of the pseudo-terminal that controls its session, -1: none does
  std::atomic<int> state;
  std::atomic<int> frozen_pid, frozen_proc_pid;  ///< of its frozen copy; 0: there is none
  Wait wait;                                     ///< what its main thread waited in
  char name[16];
  FailureText failure;
  bool passes;                     ///< what failed is over in a moment, when its threads run
  std::atomic<int> told_children;  ///< those that it knows by another pid than the kernel does
  StandIn told[most_told];
  std::atomic<int> open_files, mappings;  ///< how many it has told
};

/// A child that has ended, but that its parent has not waited for.
struct Ended {
  int pid, proc_pid, parent, status;
};

/// Of a TCP connection between two processes: what the root has found out about an end.
struct Across {
  bool known;   ///< it is one, and what is under way can be carried over
  int process;  ///< that has the other end,
  int other;    ///< and which of its open files that is
  int shut;     ///< halves, see tcp_ends.hpp
  uint64_t waiting;
};

/// An open file of a process; of duplicates the lowest descriptor.
struct OpenFile {
  uint64_t device, inode;
  int fd, kind, flags;
  bool stream;          ///< one of the root's standard streams
  int terminal;         ///< of a pseudo-terminal's side: its number; -1: it is none
  int family;           ///< of an internet socket; 0: it is none
  uint16_t port;        ///< its own
  bool loops;           ///< it is on all addresses, or on one of those that only this computer has
  uint64_t connection;  ///< TCP: the same number for both ends (tcp_ends.hpp); 0: it has no other end
  Across across;
};

/// An object that a process maps MAP_SHARED, or has open as shared memory. The device is that of /proc/PID/maps.
struct Mapping {
  uint64_t device, inode;
  bool writable;
};

/// What a copy has made for all that its clone's processes have of one object: its own descriptors.
struct Offer {
  uint64_t device, inode;
  bool memory;
  int ends[2];
};

/// Of one process's copy in one clone, or of its frozen copy.
struct Copy {
  std::atomic<int> offers_made;  ///< futex
  std::atomic<int> in_place;     ///< 1: all its descriptors are under their numbers. Futex
  Offer offers[most_offers];
};

/// A private folder (core/private_files), as the root has found it: all see the same ones.
struct Folder {
  char path[4096];
  unsigned number;
  uint64_t mount, device;
};

/// Of one clone, or of the frozen copies.
struct Clone {
  std::atomic<int> reaper;     ///< pid of its pid 1 in the master's namespace, when it can be joined. Futex
  std::atomic<int> died;       ///< pid of the first of its processes that has ended; gc-reaper says so
  uint32_t address;            ///< of the clone, host byte order
  std::atomic<int> mounted;    ///< 1: the root's copy has the clone's private folders. Futex
  std::atomic<int> connected;  ///< copies that have made their connections to others and themselves. Futex
  std::atomic<int> whole;      ///< copies that have all their threads. Futex
  std::atomic<int> stand_in_count;
  StandIn stand_ins[most_processes];
};

inline constexpr uint64_t page_magic = 0x6763'7472'6565'0002;

struct Page {
  uint64_t magic, size;  ///< size of the file
  int clones;            ///< the frozen copies have the place behind the last one
  int root_proc_pid;
  int reaper;  ///< descriptor of the root for the gc-reaper binary
  int park_timeout_ms;
  std::atomic<int> phase;       ///< futex
  std::atomic<int> progress;    ///< counts what the processes and copies say. Futex
  std::atomic<int> committed;   ///< 1: the gate is open. Futex
  std::atomic<int> count;       ///< processes
  std::atomic<int> connectors;  ///< those with TCP connections to others or themselves
  int ended_count;
  int folder_count;
  char store[4096];  ///< where the changes in private folders are mounted
  Process processes[most_processes];
  Ended ended[most_processes];
  Folder folders[most_folders];

  static size_t rounded(size_t size) { return (size + 4095) & ~size_t(4095); }
  static size_t region_size(int clones) {
    return rounded(StatusPage::size_for((size_t)clones) + most_open_files * sizeof(OpenFile) +
                   most_mappings * sizeof(Mapping) + (size_t)(clones + 1) * sizeof(Copy));
  }
  static size_t clones_at() { return rounded(sizeof(Page)); }
  static size_t clone_at(int k) { return clones_at() + (size_t)k * sizeof(Clone); }
  static size_t regions_at(int clones) { return clones_at() + rounded((size_t)(clones + 1) * sizeof(Clone)); }
  static size_t size_for(int clones) { return regions_at(clones) + most_processes * region_size(clones); }

  char *region(int process) {
    return reinterpret_cast<char *>(this) + regions_at(clones) + (size_t)process * region_size(clones);
  }
  StatusPage *status(int process) { return reinterpret_cast<StatusPage *>(region(process)); }
  OpenFile *open_files(int process) {
    return reinterpret_cast<OpenFile *>(region(process) + StatusPage::size_for((size_t)clones));
  }
  Mapping *mappings(int process) {
    return reinterpret_cast<Mapping *>(open_files(process) + most_open_files);
  }
  Copy &copy(int process, int clone) {
    return reinterpret_cast<Copy *>(mappings(process) + most_mappings)[clone];
  }
  Clone &clone(int k) { return reinterpret_cast<Clone *>(reinterpret_cast<char *>(this) + clones_at())[k]; }
};

}  // namespace gridcentric::live_clone::tree
