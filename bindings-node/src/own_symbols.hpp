// Functions of the program's own binary by their linker names, those included that it does not export: Node 24 and newer
// keep V8's internals to themselves, and the names are still in the binary's table of symbols unless it was stripped.
// It must not know: what is looked for.
#pragma once

namespace gridcentric::node {

// Fills in what is found; addresses that are set already stay. Milliseconds: do it once.
struct Symbol {
  const char *name;
  void *address;
};
void find_own_symbols(Symbol *first, Symbol *last) noexcept;

}  // namespace gridcentric::node
