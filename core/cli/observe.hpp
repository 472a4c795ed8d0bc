// Looks at hosts from outside, without being one of their domains: which run, what they report, which domains they have.
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
  int pid;  // -1: none on this computer
  std::int64_t age_ms;
  std::string name;
};

// Sockets of this user's hosts: the one GRIDCENTRIC_HOST names, and all that listen in a folder of ours. Hosts of other
// users are not even connected to: they could send anything, or nothing and keep us waiting.
std::vector<std::string> find_hosts();

// The domains of all these hosts, by host, family and vmid. A host that ends meanwhile has none. A complaint is added for
// each host that does not answer, and for one that GRIDCENTRIC_HOST names and that does not exist (nullptr: none are).
std::vector<Observed> observe_all(std::vector<std::string> *complaints);

// Asks a host to end a clone, or with vmid 0 the whole family. Throws guest::Error, but not if it has just ended anyway.
void end_domain(const std::string &host, const std::string &family, int vmid);

// What a host says about itself, as keys and values. Throws guest::Error.
std::vector<std::pair<std::string, std::string>> observe_info(const std::string &host);

// A name, fit for one line of a table.
std::string one_line(std::string name);

std::string age_text(std::int64_t ms);  // "850ms", "12s", "3m05s", "2h10m", "4d02h"

}  // namespace gridcentric::cli
