// An ELF object as it lies in memory or in a file: which functions it exports, which libraries it needs.
// It must not know: what is searched for, generators.
#pragma once
#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace gridcentric::generators {

// A file, mapped for reading as long as this object lives. bytes() is empty if it cannot be read.
class FileInMemory {
 public:
  explicit FileInMemory(const std::string &path);
  ~FileInMemory();
  FileInMemory(const FileInMemory &) = delete;
  FileInMemory &operator=(const FileInMemory &) = delete;

  std::string_view bytes() const { return {base_, size_}; }

 private:
  const char *base_ = nullptr;
  std::size_t size_ = 0;
};

class ElfImage {
 public:
  // An object that the dynamic linker has loaded; valid inside the callback of dl_iterate_phdr().
  explicit ElfImage(const dl_phdr_info &loaded);
  // A whole file. Anything but an ELF file for this kind of computer counts as one that exports and needs nothing.
  explicit ElfImage(std::string_view file);

  // Address of an exported function, before relocation (in memory: after it). 0: there is no such function.
  std::uint64_t exported_function(const char *name) const;
  // Whether it needs a library whose name begins like this.
  bool needs(std::string_view library) const;

 private:
  const void *at(std::uint64_t address, std::uint64_t size) const;
  template <typename T>
  const T *at(std::uint64_t address, std::uint64_t count = 1) const {
    return static_cast<const T *>(at(address, count * sizeof(T)));
  }
  void read_dynamic();
  std::uint64_t to_address(std::uint64_t pointer) const;
  const Elf64_Sym *found_by_gnu_hash(const char *name) const;
  const Elf64_Sym *found_by_hash(const char *name) const;
  bool is(const Elf64_Sym &symbol, const char *name) const;
  const char *text(std::uint64_t offset) const;

  std::string_view file_;   // empty: in memory
  std::uint64_t base_ = 0;  // in memory: its load bias
  std::span<const Elf64_Phdr> headers_;
  std::span<const Elf64_Dyn> dynamic_;
  std::uint64_t symbols_ = 0, strings_ = 0, strings_size_ = 0, gnu_hash_ = 0, hash_ = 0;
};

}  // namespace gridcentric::generators
