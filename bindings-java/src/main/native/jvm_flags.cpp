// The JVM's own flags, found as debuggers find them: libjvm exports a table of where its structures are.
#include <dlfcn.h>

#include <cstdint>
#include <cstring>

#include "binding.hpp"

namespace gridcentric::java {
namespace {

// One of these tables: rows at a fixed distance, and columns at offsets, all of which are exported numbers.
class Table {
 public:
  Table(void *library, const char *rows, const char *stride) : library_(library) {
    const auto *first = static_cast<char *const *>(::dlsym(library, rows));
    row_ = first != nullptr ? *first : nullptr;
    stride_ = number(stride);
  }
  template <class Value>
  Value column(const char *offset) const {
    Value value;
    std::memcpy(&value, row_ + number(offset), sizeof value);
    return value;
  }
  // To the first row at or after this one that has the text, and false if there is none.
  bool find(const char *offset, const char *text) {
    if (row_ == nullptr || stride_ == 0) return false;
    for (;; row_ += stride_) {
      const auto *name = column<const char *>(offset);
      if (name == nullptr) return false;
      if (std::strcmp(name, text) == 0) return true;
    }
  }
  void next() { row_ += stride_; }

 private:
  std::uint64_t number(const char *name) const {
    const auto *value = static_cast<const std::uint64_t *>(::dlsym(library_, name));
    return value != nullptr ? *value : 0;
  }

  void *library_;
  const char *row_;
  std::uint64_t stride_;
};

struct FlagTable {
  const char *flags = nullptr;  // an array of JVMFlag
  std::uint64_t count = 0, size = 0, name_offset = 0, address_offset = 0;
};

FlagTable find_flags(void *library) {
  FlagTable found;
  Table types(library, "gHotSpotVMTypes", "gHotSpotVMTypeEntryArrayStride");
  if (types.find("gHotSpotVMTypeEntryTypeNameOffset", "JVMFlag"))
    found.size = types.column<std::uint64_t>("gHotSpotVMTypeEntrySizeOffset");
  Table fields(library, "gHotSpotVMStructs", "gHotSpotVMStructEntryArrayStride");
  for (; fields.find("gHotSpotVMStructEntryTypeNameOffset", "JVMFlag"); fields.next()) {
    const auto *name = fields.column<const char *>("gHotSpotVMStructEntryFieldNameOffset");
    const auto offset = fields.column<std::uint64_t>("gHotSpotVMStructEntryOffsetOffset");
    const auto *address = fields.column<const char *const *>("gHotSpotVMStructEntryAddressOffset");
    if (std::strcmp(name, "flags") == 0) found.flags = *address;
    if (std::strcmp(name, "numFlags") == 0) std::memcpy(&found.count, address, sizeof found.count);
    if (std::strcmp(name, "_name") == 0) found.name_offset = offset;
    if (std::strcmp(name, "_addr") == 0) found.address_offset = offset;
  }
  return found;
}

}  // namespace

bool *find_flag(const char *name) {
  void *library = ::dlopen("libjvm.so", RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return nullptr;
  const FlagTable table = find_flags(library);
  ::dlclose(library);
  if (table.flags == nullptr || table.size == 0) return nullptr;
  for (std::uint64_t at = 0; at < table.count; ++at) {
    const char *flag = table.flags + at * table.size, *its_name = nullptr;
    std::memcpy(&its_name, flag + table.name_offset, sizeof its_name);
    if (its_name == nullptr || std::strcmp(its_name, name) != 0) continue;
    bool *value = nullptr;
    std::memcpy(&value, flag + table.address_offset, sizeof value);
    return value;
  }
  return nullptr;
}

}  // namespace gridcentric::java
