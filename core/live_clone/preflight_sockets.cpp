// See preflight_sockets.hpp. Another process's socket is looked at through a copy of its descriptor.
#include "preflight_sockets.hpp"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "descriptor.hpp"
#include "groups.hpp"
#include "preflight_text.hpp"

namespace gridcentric::live_clone {

void SocketsSeen::note(int fd, const std::string &what) {
  notes_.push_back("descriptor " + std::to_string(fd) + ": " + what);
}

// A copy of the process's descriptor, which the caller closes unless the process is this one. -1: not permitted.
int SocketsSeen::copy_of(int fd) const { return self_ ? fd : copy_of_descriptor(pid_, fd); }

void SocketsSeen::look_at(int fd, const std::string &link, bool shared) {
  const auto inode = (uint32_t)strtoul(link.c_str() + strlen("socket:["), nullptr, 10);
  const int own = copy_of(fd);
  if (own < 0) {
    unseen_++;
    return;
  }
  const int family = socket_option(own, SOL_SOCKET, SO_DOMAIN),
            type = socket_option(own, SOL_SOCKET, SO_TYPE),
            protocol = socket_option(own, SOL_SOCKET, SO_PROTOCOL);
  if (const char *why = family >= 0 ? refused_socket(family, type, protocol) : nullptr) {
    refusals_.push_back(
        {EOPNOTSUPP, said([&](Text &text) { tell_refused(text, fd, why, Path(" (family ", family, ")")); })});
  } else if (!shared) {
    const bool listens = socket_option(own, SOL_SOCKET, SO_ACCEPTCONN) > 0;
    if (family == AF_UNIX && listens) note(fd, path_stays);
    if (family == AF_UNIX && !listens) {
      inodes_.push_back(inode);
      const std::string info = read_text(proc_ + "/fdinfo/" + std::to_string(fd));
      const char *queued = field(info.c_str(), "scm_fds:");
      if (queued && *queued != '0') in_flight_.push_back({fd, inode});
    }
    if (family != AF_UNIX && type == SOCK_DGRAM) look_at_groups(fd, own);
    if (family != AF_UNIX && type == SOCK_STREAM) look_at_tcp(fd, own, listens);
  }
  if (!self_) close(own);
}

void SocketsSeen::look_at_groups(int fd, int own) {
  if (receives_a_group_alone(own)) return;
  if (group_texts_.empty())
    for (const char *file : group_files) group_texts_.push_back(read_text(proc_ + "/" + file));
  for (size_t i = 0; i < group_texts_.size(); i++) {
    Group group{};
    for (const char *text = group_texts_[i].c_str(); next_group(&text, i == 1, &group);)
      if (is_member(own, group))
        notes_.push_back(said([&](Text &said_of) { tell_lost_group(said_of, fd, group); }));
  }
}

void SocketsSeen::look_at_tcp(int fd, int own, bool listens) {
  Endpoint at;
  Connection c;
  if (listens && has_unaccepted(own) && local_endpoint(own, &at))
    listeners_.push_back({fd, at});
  else if (!listens && connection_of(own, &c))
    ends_.push_back({fd, c});
}

template <typename Look>
bool SocketsSeen::look_again(int fd, Look look) const {
  const int own = copy_of(fd);
  const bool found = own >= 0 && look(own);
  if (!self_ && own >= 0) close(own);
  return found;
}

// Null: a clone gets one like it, or it is no longer one.
const char *SocketsSeen::why_pair_is_dead(const Pair &pair, bool *passes) {
  const char *why = nullptr;
  const auto look = [&](int a, int b) {
    Connection now_a, now_b;
    const bool still_one = connection_of(a, &now_a) && connection_of(b, &now_b) &&
                           are_ends_of_one(now_a, now_b) && in_one_network(a, b);
    if (!still_one) return;
    why = why_dead(a, b, passes);
    const UnderWay there = under_way(a, b), back = under_way(b, a);
    const bool arriving = (there.arriving && !there.unsent) || (back.arriving && !back.unsent);
    if (!why && arriving) *passes = true, why = never_arrives;
    if (!why && in_all_ + there.bytes() + back.bytes() > most_under_way_in_all)
      *passes = true, why = too_much_under_way;
    if (!why) in_all_ += there.bytes() + back.bytes();
  };
  look_again(pair.first,
             [&](int a) { return look_again(pair.second, [&](int b) { return look(a, b), true; }); });
  return why;
}

// Connections of the program to itself. What is over in a moment is not worth a word.
void SocketsSeen::note_pairs(std::vector<Pair> pairs) {
  for (const double begin = now_ms(); !pairs.empty(); nanosleep(&between_looks, nullptr))
    std::erase_if(pairs, [&](const Pair &pair) {
      bool passes = false;
      const char *why = why_pair_is_dead(pair, &passes);
      const bool stays = why && (!passes || now_ms() - begin > passing_ms);
      if (stays)
        notes_.push_back(said([&](Text &text) { tell_dead_pair(text, pair.first, pair.second, why); }));
      return stays || !why;
    });
}

void SocketsSeen::note_connections() {
  std::unordered_multimap<uint64_t, size_t> known;
  std::vector<Pair> pairs;
  for (size_t i = 0; i < ends_.size(); i++) {
    const Connection &c = ends_[i].connection;
    if (same_endpoint(c.local, c.peer)) {
      notes_.push_back(said([&](Text &text) { tell_connected_to_itself(text, ends_[i].fd); }));
      continue;
    }
    const auto [first, last] = known.equal_range(number_for(c));
    const auto other = std::find_if(
        first, last, [&](const auto &k) { return are_ends_of_one(c, ends_[k.second].connection); });
    if (other == last) {
      known.emplace(number_for(c), i);
    } else {
      pairs.push_back({ends_[other->second].fd, ends_[i].fd});
      known.erase(other);
    }
  }
  std::sort(pairs.begin(), pairs.end());
  note_pairs(std::move(pairs));
  for (const Listener &l : listeners_)
    for (const auto &[number, i] : known)
      if (may_be_waiting_at(ends_[i].connection, l.at) && waits_for_longer(l.fd))
        notes_.push_back(said([&](Text &text) { tell_unaccepted(text, ends_[i].fd, l.fd); }));
}

bool SocketsSeen::waits_for_longer(int listener) const {
  for (const double begin = now_ms(); now_ms() - begin < passing_ms; nanosleep(&between_looks, nullptr))
    if (!look_again(listener, has_unaccepted)) return false;
  return true;
}

std::vector<std::string> SocketsSeen::notes() {
  note_connections();
  const int diag = in_flight_.empty() ? -1 : socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  for (const InFlight &s : in_flight_) {
    uint32_t peer = 0;
    const bool told = diag >= 0 && unix_peer(diag, s.inode, &peer);
    // Of a connection to somebody else they are the master's.
    if (!told || std::find(inodes_.begin(), inodes_.end(), peer) != inodes_.end() ||
        around_.have_socket(peer))
      note(s.fd, descriptors_in_flight);
  }
  if (diag >= 0) close(diag);
  if (unseen_) notes_.push_back(std::to_string(unseen_) + " sockets could not be looked at (not permitted)");
  return notes_;
}

}  // namespace gridcentric::live_clone
