// The part of the preflight that looks at io_urings.
#pragma once

#include <string>
#include <vector>

namespace gridcentric::live_clone {

/// The rings of a process, as far as they can be told of while it runs. Fed with what the preflight reads, then asked.
/// What it refuses the plan (io_uring.cpp) would refuse, by the same texts.
class RingsSeen {
 public:
  /// proc: the folder of the process; self: is it this one, and would this thread clone?
  RingsSeen(std::string proc, bool self) : proc_(std::move(proc)), self_(self) {}

  void descriptor(const std::string &fd, const std::string &fdinfo);
  void mapping(const std::string &inode, unsigned long long offset, unsigned long long size);

  struct Answer {
    std::string fd;
    const char
        *why;  ///< it can't be cloned, for refuse texts ("descriptor FD is an io_uring WHY"); null: a note
    std::string note;
  };
  /// When all are known: what is to be said of each, nothing of most.
  std::vector<Answer> answers() const;

 private:
  struct Seen {
    std::string fd, fdinfo, inode;
  };
  struct Mapped {
    std::string inode;
    bool requests;
    unsigned long long size;
  };
  const char *refusal(const Seen &ring) const;
  const char *refusal_by_sizes(const Seen &ring) const;
  const char *asked_of_the_kernel(const Seen &ring) const;

  const std::string proc_;
  const bool self_;
  std::vector<Seen> rings_;
  std::vector<Mapped> mapped_;
};

}  // namespace gridcentric::live_clone
