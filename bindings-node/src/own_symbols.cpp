#include "own_symbols.hpp"

#include <elf.h>
#include <link.h>

#include <cstdint>
#include <cstring>

#include "core/generators/elf_image.hpp"

namespace gridcentric::node {
namespace {

// `count` objects at this offset, or nullptr if the file is shorter.
template <typename T>
const T *at(std::string_view file, std::uint64_t offset, std::uint64_t count = 1) {
  const bool inside = offset <= file.size() && count <= (file.size() - offset) / sizeof(T);
  return inside ? reinterpret_cast<const T *>(file.data() + offset) : nullptr;
}

// The offset between the program's addresses in memory and in its file.
std::uintptr_t moved_by() {
  std::uintptr_t moved = 0;
  dl_iterate_phdr(
      [](dl_phdr_info *info, std::size_t, void *out) {
        *static_cast<std::uintptr_t *>(out) = info->dlpi_addr;
        return 1;  // the program is the first
      },
      &moved);
  return moved;
}

}  // namespace

void find_own_symbols(Symbol *first, Symbol *last) noexcept {
  const generators::FileInMemory mapped("/proc/self/exe");
  const std::string_view file = mapped.bytes();
  const auto *header = at<Elf64_Ehdr>(file, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64)
    return;
  const auto *sections = at<Elf64_Shdr>(file, header->e_shoff, header->e_shnum);
  if (!sections) return;
  for (const auto *table = sections; table != sections + header->e_shnum; ++table) {
    if (table->sh_type != SHT_SYMTAB || table->sh_link >= header->e_shnum) continue;
    const std::uint64_t count = table->sh_size / sizeof(Elf64_Sym),
                        names_size = sections[table->sh_link].sh_size;
    const auto *symbols = at<Elf64_Sym>(file, table->sh_offset, count);
    const auto *names = at<char>(file, sections[table->sh_link].sh_offset, names_size);
    if (!symbols || !names || !names_size || names[names_size - 1] != 0) return;
    for (const auto *s = symbols; s != symbols + count; ++s) {
      if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || s->st_shndx == SHN_UNDEF || s->st_name >= names_size)
        continue;
      for (Symbol *wanted = first; wanted != last; ++wanted)
        if (!wanted->address && std::strcmp(names + s->st_name, wanted->name) == 0)
          wanted->address = reinterpret_cast<void *>(moved_by() + s->st_value);
    }
  }
}

}  // namespace gridcentric::node
