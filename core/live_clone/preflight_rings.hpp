// The part of the preflight that examines io_urings.
#pragma once

#include <string>
#include <vector>

namespace gridcentric::live_clone {

/// The rings of a process, as far as they can be known while it runs. Collects what the preflight reads, then gives answers().
/// It refuses what the plan (io_uring.cpp) would refuse, with the same texts.
class RingsSeen {
 public:
  /// pid: of the process, as this one has to call it; self: is it this process, and would this thread clone?
  RingsSeen(int pid, bool self) : pid_(pid), self_(self) {}

  void descriptor(const std::string &fd, const std::string &fdinfo);
  void mapping(const std::string &inode, unsigned long long offset, unsigned long long size);

  struct Answer {
    std::string fd;
    const char *why;  ///< why it cannot be cloned ("descriptor FD is an io_uring WHY"); null: only a note
    std::string note;
  };
  /// Call it when all have been added: what there is to say about each; most rings have no answer.
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

  const int pid_;
  const bool self_;
  std::vector<Seen> rings_;
  std::vector<Mapped> mapped_;
};

}  // namespace gridcentric::live_clone
