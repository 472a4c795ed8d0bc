#include "core/cli/preloadable.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace gridcentric::cli {
namespace {

constexpr int deepest_interpreter = 4;  // as the kernel has it
#if defined(__x86_64__)
constexpr int own_machine = EM_X86_64;
#else
constexpr int own_machine = EM_AARCH64;
#endif

// The file that exec would take; "" if there is none.
std::string find_program(const std::string &command) {
  if (command.find('/') != std::string::npos) return ::access(command.c_str(), X_OK) == 0 ? command : "";
  const char *set = std::getenv("PATH");
  std::string_view path = set != nullptr ? set : "/bin:/usr/bin";
  for (;;) {
    const auto end = path.find(':');
    const std::string folder(path.substr(0, end));
    const std::string file = (folder.empty() ? "." : folder) + "/" + command;
    struct stat facts {};
    if (::stat(file.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) && ::access(file.c_str(), X_OK) == 0)
      return file;
    if (end == std::string_view::npos) return "";
    path.remove_prefix(end + 1);
  }
}

// A file's bytes, for as long as this lives; empty if they cannot be read.
class Bytes {
 public:
  explicit Bytes(const std::string &path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat facts {};
    if (fd >= 0 && ::fstat(fd, &facts) == 0 && facts.st_size > 0) {
      size_ = static_cast<std::size_t>(facts.st_size);
      place_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    if (fd >= 0) ::close(fd);
  }
  ~Bytes() {
    if (place_ != MAP_FAILED) ::munmap(place_, size_);
  }
  Bytes(const Bytes &) = delete;
  Bytes &operator=(const Bytes &) = delete;

  std::string_view view() const {
    return place_ == MAP_FAILED ? std::string_view()
                                : std::string_view(static_cast<const char *>(place_), size_);
  }

 private:
  std::size_t size_ = 0;
  void *place_ = MAP_FAILED;
};

template <typename Part>
bool read_part(std::string_view file, std::size_t at, Part *part) {
  if (at > file.size() || file.size() - at < sizeof *part) return false;
  std::memcpy(part, file.data() + at, sizeof *part);
  return true;
}

// The dynamic linker that the program names; "" if it names none.
std::string linker_of(std::string_view file, const Elf64_Ehdr &header) {
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!read_part(file, header.e_phoff + i * sizeof segment, &segment)) return "";
    if (segment.p_type != PT_INTERP || segment.p_offset > file.size()) continue;
    const std::string_view rest = file.substr(segment.p_offset, segment.p_filesz);
    return std::string(rest.substr(0, rest.find('\0')));
  }
  return "";
}

// The dynamic linker leaves out what is preloaded where the program gets rights that its user has not.
std::string why_not_trusted(const std::string &path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return "";
  if ((facts.st_mode & S_ISUID) != 0 && facts.st_uid != ::geteuid()) return "it is setuid";
  if ((facts.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && facts.st_gid != ::getegid())
    return "it is setgid";
  if (::geteuid() != 0 && ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0)
    return "it has file capabilities";
  return "";
}

std::string why_not_binary(std::string_view file) {
  Elf64_Ehdr header;
  if (!read_part(file, 0, &header) || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_machine != own_machine)
    return "it is a program for another kind of processor";
  const std::string linker = linker_of(file, header);
  if (linker.empty()) return "it is linked statically";
  if (linker.find("/ld-linux-") == std::string::npos)
    return "it is made for another C library than glibc (" + linker + ")";
  if (file.find("__libc_start_main") == std::string_view::npos)
    return "it does not start by way of the C library (a Go program: build it with "
           "-ldflags=-linkmode=external)";
  return "";
}

// "#! INTERPRETER [ARGUMENT]": what really runs. env(1) runs the first of its words that is neither an option nor a variable.
std::string interpreter_of(std::string_view file) {
  std::string_view line = file.substr(2, file.substr(0, PATH_MAX).find('\n') - 2);
  const auto next = [&line] {
    line.remove_prefix(std::min(line.size(), line.find_first_not_of(" \t")));
    const std::string_view word = line.substr(0, line.find_first_of(" \t\r"));
    line.remove_prefix(word.size());
    return word;
  };
  std::string_view word = next();
  if (word.substr(word.rfind('/') + 1) != "env") return std::string(word);
  for (word = next(); !word.empty(); word = next())
    if (word[0] != '-' && word.find('=') == std::string_view::npos) return std::string(word);
  return "";
}

// found: the file that the reason is about.
std::string why_not(const std::string &command, int depth, std::string *found) {
  *found = find_program(command);
  if (found->empty()) return "";
  if (std::string reason = why_not_trusted(*found); !reason.empty()) return reason;
  const Bytes file(*found);
  if (file.view().starts_with("#!"))
    return depth == 0 ? "" : why_not(interpreter_of(file.view()), depth - 1, found);
  if (!file.view().starts_with(ELFMAG)) return "";  // exec refuses it, or gives it to sh
  return why_not_binary(file.view());
}

}  // namespace

std::string why_not_preloadable(const std::string &command) {
  std::string found;
  const std::string reason = why_not(command, deepest_interpreter, &found);
  if (reason.empty()) return "";
  return "'" + command + "' cannot be made cloneable" +
         (found == command ? ": " : ", as it is run by '" + found + "': ") + reason +
         ". Use a build of it that is linked dynamically with glibc and gives its user no rights, or set "
         "GRIDCENTRIC_SERVE=0 "
         "to run it as it is: then it can be cloned only if it calls gridcentric itself";
}

}  // namespace gridcentric::cli
