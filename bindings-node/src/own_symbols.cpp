#include "own_symbols.hpp"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace gridcentric::node {
namespace {

class OwnFile {
 public:
  OwnFile() {
    const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat st {};
    if (fd >= 0 && fstat(fd, &st) == 0) {
      size_ = static_cast<std::size_t>(st.st_size);
      void *at = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
      if (at != MAP_FAILED) base_ = static_cast<const char *>(at);
    }
    if (fd >= 0) close(fd);
  }
  ~OwnFile() {
    if (base_) munmap(const_cast<char *>(base_), size_);
  }
  OwnFile(const OwnFile &) = delete;
  OwnFile &operator=(const OwnFile &) = delete;

  // `count` things at this offset, or nullptr when the file is shorter.
  template <typename T>
  const T *at(std::uint64_t offset, std::uint64_t count = 1) const {
    const bool inside = base_ && offset <= size_ && count <= (size_ - offset) / sizeof(T);
    return inside ? reinterpret_cast<const T *>(base_ + offset) : nullptr;
  }

 private:
  const char *base_ = nullptr;
  std::size_t size_ = 0;
};

// How far the program was moved from the addresses in its file.
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
  const OwnFile file;
  const auto *header = file.at<Elf64_Ehdr>(0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64)
    return;
  const auto *sections = file.at<Elf64_Shdr>(header->e_shoff, header->e_shnum);
  if (!sections) return;
  for (const auto *table = sections; table != sections + header->e_shnum; ++table) {
    if (table->sh_type != SHT_SYMTAB || table->sh_link >= header->e_shnum) continue;
    const std::uint64_t count = table->sh_size / sizeof(Elf64_Sym),
                        names_size = sections[table->sh_link].sh_size;
    const auto *symbols = file.at<Elf64_Sym>(table->sh_offset, count);
    const auto *names = file.at<char>(sections[table->sh_link].sh_offset, names_size);
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
