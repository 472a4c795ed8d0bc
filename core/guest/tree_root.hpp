// Which process is the root of a tree, seen from outside. Programs overwrite their environment (nginx and PostgreSQL do), so it is told
// by the name of the thread that listens for orders, which only the root has.
#pragma once

namespace gridcentric::guest {

inline constexpr const char *listener_of_tree = "gc-orders-tree";

// Of the tree that a process is in, as /proc names both; 0: it is in none.
int root_of_tree(int proc_pid);
// This process, as /proc names it.
int own_number();

}  // namespace gridcentric::guest
