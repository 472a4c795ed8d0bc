// The handlers of before_clone(), which run in the thread that calls clone(), and those of on_clone(): kept here, and run once
// in each clone by whoever notices first that it is one.
//   a copied process      the thread that called clone(), before clone() returns (clone.cpp)
//   a machine (VM)        any process of it, also one that never called clone(): the first thread that calls into the
//                         library, or else the watcher, a thread that sleeps on the machine's page (machine_page.hpp)
// It must not know: how clones are made, who the clone is.
#pragma once
#include <functional>

namespace gridcentric::guest {

void add_before_handler(std::function<void()> handler);

// Runs them in the order of registration; what one throws is thrown, and the others don't run. While it does, another call
// (of any thread, of a handler too) throws GC_E_CLONE_FAILED.
void run_before_handlers();

void add_clone_handler(std::function<void(int vmid)> handler);

// In a copied process: now, in this thread. What a handler throws is thrown.
void run_clone_handlers(int vmid);

// In a VM: runs the handlers when the machine has become another one since they ran last, unless another thread does so
// already. Never throws: a handler that does is reported on stderr. Elsewhere, and from within a handler: does nothing.
void notice_other_machine() noexcept;

// In a VM, in the thread whose clone() made it: as above, and returns only when the handlers have run, whoever runs them.
// Rethrows what a handler has thrown.
void finish_clone_handlers();

}  // namespace gridcentric::guest
