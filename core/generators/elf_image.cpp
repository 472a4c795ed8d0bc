#include "core/generators/elf_image.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

namespace gridcentric::generators {
namespace {

std::uint32_t gnu_hash_of(const char *name) {
  std::uint32_t hash = 5381;
  for (; *name; ++name) hash = hash * 33 + static_cast<unsigned char>(*name);
  return hash;
}

std::uint32_t hash_of(const char *name) {
  std::uint32_t hash = 0;
  for (; *name; ++name) {
    hash = (hash << 4) + static_cast<unsigned char>(*name);
    const std::uint32_t high = hash & 0xf0000000;
    hash = (hash ^ (high >> 24)) & ~high;
  }
  return hash;
}

}  // namespace

FileInMemory::FileInMemory(const std::string &path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat found {};
  if (fd >= 0 && ::fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && found.st_size > 0) {
    void *at = ::mmap(nullptr, static_cast<std::size_t>(found.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (at != MAP_FAILED) {
      base_ = static_cast<const char *>(at);
      size_ = static_cast<std::size_t>(found.st_size);
    }
  }
  if (fd >= 0) ::close(fd);
}

FileInMemory::~FileInMemory() {
  if (base_ != nullptr) ::munmap(const_cast<char *>(base_), size_);
}

ElfImage::ElfImage(const dl_phdr_info &loaded)
    : base_(loaded.dlpi_addr), headers_(loaded.dlpi_phdr, loaded.dlpi_phnum) {
  read_dynamic();
}

ElfImage::ElfImage(std::string_view file) : file_(file) {
  if (file.size() < sizeof(Elf64_Ehdr)) return;
  const auto *header = reinterpret_cast<const Elf64_Ehdr *>(file.data());
  if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64) return;
  if (header->e_phoff > file.size() || header->e_phentsize != sizeof(Elf64_Phdr) ||
      header->e_phnum > (file.size() - header->e_phoff) / sizeof(Elf64_Phdr))
    return;
  headers_ = {reinterpret_cast<const Elf64_Phdr *>(file.data() + header->e_phoff), header->e_phnum};
  read_dynamic();
}

const void *ElfImage::at(std::uint64_t address, std::uint64_t size) const {
  for (const Elf64_Phdr &segment : headers_) {
    if (segment.p_type != PT_LOAD || address < segment.p_vaddr) continue;
    const std::uint64_t offset = address - segment.p_vaddr;
    if (offset > segment.p_filesz || size > segment.p_filesz - offset) continue;
    if (file_.empty()) return reinterpret_cast<const void *>(base_ + address);
    if (segment.p_offset > file_.size() || offset + size > file_.size() - segment.p_offset) return nullptr;
    return file_.data() + segment.p_offset + offset;
  }
  return nullptr;
}

// The dynamic linker relocates the pointers of most objects in place, but not those of the vDSO, and not with every C library.
std::uint64_t ElfImage::to_address(std::uint64_t pointer) const {
  return file_.empty() && pointer >= base_ ? pointer - base_ : pointer;
}

void ElfImage::read_dynamic() {
  for (const Elf64_Phdr &segment : headers_) {
    if (segment.p_type != PT_DYNAMIC) continue;
    const std::uint64_t count = segment.p_filesz / sizeof(Elf64_Dyn);
    if (const auto *entries = at<Elf64_Dyn>(segment.p_vaddr, count)) dynamic_ = {entries, count};
  }
  for (const Elf64_Dyn &entry : dynamic_) {
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_SYMTAB) symbols_ = to_address(entry.d_un.d_ptr);
    if (entry.d_tag == DT_STRTAB) strings_ = to_address(entry.d_un.d_ptr);
    if (entry.d_tag == DT_STRSZ) strings_size_ = entry.d_un.d_val;
    if (entry.d_tag == DT_GNU_HASH) gnu_hash_ = to_address(entry.d_un.d_ptr);
    if (entry.d_tag == DT_HASH) hash_ = to_address(entry.d_un.d_ptr);
  }
}

const char *ElfImage::text(std::uint64_t offset) const {
  const char *strings = at<char>(strings_, strings_size_);
  return strings != nullptr && offset < strings_size_ && strings[strings_size_ - 1] == 0 ? strings + offset
                                                                                         : "";
}

bool ElfImage::is(const Elf64_Sym &symbol, const char *name) const {
  return ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_shndx != SHN_UNDEF &&
         std::strcmp(text(symbol.st_name), name) == 0;
}

const Elf64_Sym *ElfImage::found_by_gnu_hash(const char *name) const {
  struct Head {
    std::uint32_t buckets, first, words, shift;
  };
  const auto *head = gnu_hash_ ? at<Head>(gnu_hash_) : nullptr;
  if (head == nullptr || head->buckets == 0 || head->words == 0) return nullptr;
  const std::uint32_t hash = gnu_hash_of(name);
  const auto *word = at<std::uint64_t>(gnu_hash_ + sizeof(Head) + 8 * (hash / 64 % head->words));
  if (word == nullptr || !(*word >> hash % 64 & *word >> (hash >> head->shift) % 64 & 1)) return nullptr;
  const std::uint64_t buckets = gnu_hash_ + sizeof(Head) + 8ULL * head->words;
  const auto *bucket = at<std::uint32_t>(buckets + 4ULL * (hash % head->buckets));
  if (bucket == nullptr || *bucket < head->first) return nullptr;
  const std::uint64_t chains = buckets + 4ULL * head->buckets;
  for (std::uint64_t i = *bucket;; ++i) {
    const auto *chain = at<std::uint32_t>(chains + 4 * (i - head->first));
    const auto *symbol = at<Elf64_Sym>(symbols_ + i * sizeof(Elf64_Sym));
    if (chain == nullptr || symbol == nullptr) return nullptr;
    if ((*chain | 1) == (hash | 1) && is(*symbol, name)) return symbol;
    if (*chain & 1) return nullptr;
  }
}

const Elf64_Sym *ElfImage::found_by_hash(const char *name) const {
  const auto *head = hash_ ? at<std::uint32_t>(hash_, 2) : nullptr;
  if (head == nullptr || head[0] == 0) return nullptr;
  const auto *bucket = at<std::uint32_t>(hash_ + 8 + 4ULL * (hash_of(name) % head[0]));
  std::uint32_t steps = 0;
  for (std::uint32_t i = bucket ? *bucket : 0; i != 0 && steps++ < head[1];) {
    const auto *symbol = at<Elf64_Sym>(symbols_ + i * sizeof(Elf64_Sym));
    const auto *next = at<std::uint32_t>(hash_ + 8 + 4ULL * (head[0] + i));
    if (symbol == nullptr || next == nullptr) return nullptr;
    if (is(*symbol, name)) return symbol;
    i = *next;
  }
  return nullptr;
}

std::uint64_t ElfImage::exported_function(const char *name) const {
  const Elf64_Sym *found = gnu_hash_ ? found_by_gnu_hash(name) : found_by_hash(name);
  return found != nullptr ? base_ + found->st_value : 0;
}

bool ElfImage::needs(std::string_view library) const {
  for (const Elf64_Dyn &entry : dynamic_) {
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_NEEDED && std::string_view(text(entry.d_un.d_val)).starts_with(library))
      return true;
  }
  return false;
}

}  // namespace gridcentric::generators
