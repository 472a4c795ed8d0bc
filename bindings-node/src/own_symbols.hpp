// Finds functions of the program's own binary by their linker names, including those that it does not export: Node 24 and newer
// do not export V8's internals, but unless it was stripped the names are still in the binary's symbol table.
// It must not know: what is looked for.
#pragma once

namespace gridcentric::node {

// Fills in what is found; addresses already set stay. Takes milliseconds: call it once.
struct Symbol {
  const char *name;
  void *address;
};
void find_own_symbols(Symbol *first, Symbol *last) noexcept;

}  // namespace gridcentric::node
