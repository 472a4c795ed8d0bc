// Before anybody is stopped: what the processes of a tree share is laid out by its root, and each of the others has been made
// ready for the root's signal since it began. May allocate, unlike the rest of this folder.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "../live_clone.hpp"
#include "tree.hpp"

namespace gridcentric::live_clone {
namespace tree {
namespace {

// False if there are too many.
bool lay_out_folders(Page &page) {
  const Prepared &p = engine.prepared;
  if (p.private_folder_count > most_folders) return false;
  page.folder_count = (int)p.private_folder_count;
  strncpy(page.store, p.store ? p.store : "", sizeof page.store - 1);
  for (size_t i = 0; i < p.private_folder_count; i++) {
    const PrivateFolder &folder = p.private_folders[i];
    page.folders[i].number = folder.number;
    page.folders[i].mount = folder.mount;
    page.folders[i].device = folder.device;
    strncpy(page.folders[i].path, folder.path, sizeof page.folders[i].path - 1);
  }
  return true;
}

}  // namespace

bool lay_out() {
  Engine &e = engine;
  forget();
  const size_t size = Page::size_for(e.clones());
  e.prepared.tree_fd = (int)syscall(SYS_memfd_create, "gridcentric-tree", MFD_CLOEXEC);
  if (e.prepared.tree_fd < 0 || ftruncate(e.prepared.tree_fd, (off_t)size) != 0) return false;
  void *page = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, e.prepared.tree_fd, 0);
  if (page == MAP_FAILED) return false;
  e.prepared.tree = static_cast<Page *>(page);
  e.prepared.tree_size = size;
  e.prepared.tree->magic = page_magic;
  e.prepared.tree->size = size;
  e.prepared.tree->clones = e.clones();
  e.prepared.tree->reaper = e.prepared.reaper;
  for (int k = 0; k < e.clones(); k++) e.prepared.tree->clone(k).address = e.order->addresses[(size_t)k];
  return lay_out_folders(*e.prepared.tree);
}

void forget() {
  if (engine.prepared.tree_fd >= 0) close(engine.prepared.tree_fd);
  engine.prepared.tree_fd = -1;
  if (engine.prepared.tree) munmap(engine.prepared.tree, engine.prepared.tree_size);
  engine.prepared.tree = nullptr;
}

}  // namespace tree

void expect_signal(void (*repair)()) {
  static const Order order;
  tree::order_of_member = &order;
  tree::repair_of_member = repair;
  tree::libc_of_member = libc_profile();
  install_park_handler();
}

}  // namespace gridcentric::live_clone
