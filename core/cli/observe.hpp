// Looks at hosts from outside, without being in a domain of theirs: which there are, what they say, who lives there.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace gridcentric::cli {

struct Observed {
  std::string host;  // path of the socket
  std::string hypervisor;
  std::string family;
  int vmid;
  int parent;  // -1: none
  std::string ip;
  std::string ticket;
  std::string state;
  int pid;  // -1: none on this machine
  std::int64_t age_ms;
  std::string name;
};

// Sockets of the hosts that this user may talk to: the one of GRIDCENTRIC_HOST, and all that listen in a folder of ours.
std::vector<std::string> find_hosts();

// The domains of all these hosts, by host, family and vmid. A host that ends meanwhile has none.
std::vector<Observed> observe_all();

// KEY, VALUE of what a host says about itself. Throws guest::Error.
std::vector<std::pair<std::string, std::string>> observe_info(const std::string &host);

std::string age_text(std::int64_t ms);  // "850ms", "12s", "3m05s", "2h10m", "4d02h"

}  // namespace gridcentric::cli
