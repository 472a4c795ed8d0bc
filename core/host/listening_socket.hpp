// The socket of a host: its folder, its modes, what dead hosts left behind; accepting connections of the
// right users.
#pragma once
#include <functional>
#include <gridcentric/hypervisor.hpp>
#include <string>

#include "core/host/epoll_loop.hpp"

namespace gridcentric::host {

class ListeningSocket {
 public:
  // Called for each connection of our own user or root; the descriptor becomes the callee's.
  using Accepted = std::function<void(int fd, const Peer &peer)>;

  ListeningSocket(EpollLoop &loop, Accepted accepted) : loop_(loop), accepted_(std::move(accepted)) {}
  ~ListeningSocket();  // the socket, and the folder when it was made here, are gone
  ListeningSocket(const ListeningSocket &) = delete;
  ListeningSocket &operator=(const ListeningSocket &) = delete;

  // False: *error says why. A socket that a dead host left at path is replaced, a living host's is not.
  bool open_at(const std::string &path, std::string *error);
  // In its own folder, after those of dead hosts of this user were removed.
  bool open_private(std::string *error);
  const std::string &path() const { return path_; }

 private:
  bool listen_at(const std::string &path, std::string *error);
  void accept_some();

  EpollLoop &loop_;
  Accepted accepted_;
  std::string path_;
  std::string folder_;  // "": not ours
  int fd_ = -1;
  int spare_ = -1;  // given up for a moment to turn a connection away when descriptors have run out
};

}  // namespace gridcentric::host
