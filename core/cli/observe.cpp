#include "core/cli/observe.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "core/guest/exchange.hpp"
#include "core/guest/reply.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::cli {
namespace {

constexpr std::string_view forming = ".new";
constexpr int answer_ms = 2000;  // a host that is stopped must not hold up all the others

std::string named_host() {
  constexpr std::string_view scheme = "unix:";
  const char *named = std::getenv("GRIDCENTRIC_HOST");
  const std::string_view value = named != nullptr ? named : "";
  return value.starts_with(scheme) ? std::string(value.substr(scheme.size())) : "";
}

bool is_ours(const std::string &path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode) && found.st_uid == ::geteuid();
}

std::string decoded(const std::string &token) { return wire::percent_decode(token).value_or(token); }

Observed parse_domain(const std::string &line) {
  guest::Fields fields(line);
  Observed domain;
  domain.family = fields.text();
  domain.vmid = fields.number();
  domain.parent = fields.number_or(-1);
  domain.ip = fields.text();
  domain.ticket = fields.text();
  domain.state = fields.text();
  domain.pid = fields.number_or(-1);
  domain.age_ms = wire::parse_number(fields.text()).value_or(0);
  domain.name = decoded(fields.text());
  return domain;
}

}  // namespace

std::vector<std::string> find_hosts() {
  std::vector<std::string> hosts;
  // Num RefCount Protocol Flags Type St Inode Path; flag 00010000 means listening, type 0001 is a stream.
  std::ifstream table("/proc/net/unix");
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string number, count, protocol, flags, type, state, inode, path;
    fields >> number >> count >> protocol >> flags >> type >> state >> inode >> path;
    // The name the socket was bound to: a host renames it once it listens (core/host/listening_socket.cpp).
    if (path.ends_with(forming)) path.resize(path.size() - forming.size());
    if (flags == "00010000" && type == "0001" && path.starts_with("/") &&
        path.find("/gridcentric") != std::string::npos && is_ours(path))
      hosts.push_back(path);
  }
  if (const std::string named = named_host(); !named.empty()) hosts.push_back(named);
  std::sort(hosts.begin(), hosts.end());
  hosts.erase(std::unique(hosts.begin(), hosts.end()), hosts.end());
  return hosts;
}

std::vector<Observed> observe_all(std::vector<std::string> *complaints) {
  std::vector<Observed> all;
  const auto complain = [&](const std::string &host, const std::string &text) {
    if (complaints == nullptr) return;
    if (host == named_host()) return complaints->push_back("GRIDCENTRIC_HOST: " + text);
    // A host that has just ended is not worth a word; one that still listens but does not answer is.
    const auto now = find_hosts();
    if (std::binary_search(now.begin(), now.end(), host))
      complaints->push_back("the host at 'unix:" + host + "' does not answer; is it stopped?");
  };
  for (const auto &host : find_hosts()) {
    try {
      guest::Connection connection(host, "observe", nullptr, answer_ms);
      const std::string hypervisor = connection.greeting().substr(connection.greeting().rfind(' ') + 1);
      auto lines = guest::call_observed(connection, "list_all", answer_ms);
      lines.pop_back();  // the count
      for (const auto &line : lines) {
        all.push_back(parse_domain(line));
        all.back().host = host;
        all.back().hypervisor = hypervisor;
      }
    } catch (const guest::Disconnected &) {
      complain(host, "the host at 'unix:" + host + "' does not answer");
    } catch (const guest::Error &error) {
      complain(host, error.text);
    }
  }
  return all;
}

std::vector<std::pair<std::string, std::string>> observe_info(const std::string &host) {
  guest::Connection connection(host, "observe", nullptr, answer_ms);
  std::vector<std::string> lines;
  try {
    lines = guest::call_observed(connection, "info", answer_ms);
  } catch (const guest::Disconnected &) {
    throw guest::Error(GC_E_HOST_UNREACHABLE, "the host at 'unix:" + host + "' did not answer");
  }
  lines.pop_back();
  std::vector<std::pair<std::string, std::string>> info;
  for (const auto &line : lines) {
    guest::Fields fields(line);
    std::string key = fields.text();
    info.emplace_back(std::move(key), decoded(fields.tail()));
  }
  return info;
}

void end_domain(const std::string &host, const std::string &family, int vmid) {
  try {
    guest::Connection connection(host, "observe", nullptr, answer_ms);
    guest::call_observed(connection, "kill_domain " + family + " " + std::to_string(vmid), answer_ms);
  } catch (const guest::Disconnected &) {
    throw guest::Error(GC_E_HOST_UNREACHABLE, "the host at 'unix:" + host + "' did not answer");
  } catch (const guest::Error &error) {
    if (error.code != GC_E_NO_SUCH_DOMAIN) throw;
  }
}

std::string one_line(std::string name) {
  for (char &byte : name)
    if (byte == '\n' || byte == '\t') byte = ' ';
  return name;
}

std::string age_text(std::int64_t ms) {
  char text[40];
  const std::int64_t seconds = ms / 1000, minutes = seconds / 60, hours = minutes / 60;
  if (seconds < 1) {
    std::snprintf(text, sizeof text, "%" PRId64 "ms", ms);
  } else if (minutes < 1) {
    std::snprintf(text, sizeof text, "%" PRId64 "s", seconds);
  } else if (hours < 1) {
    std::snprintf(text, sizeof text, "%" PRId64 "m%02" PRId64 "s", minutes, seconds % 60);
  } else if (hours < 24) {
    std::snprintf(text, sizeof text, "%" PRId64 "h%02" PRId64 "m", hours, minutes % 60);
  } else {
    std::snprintf(text, sizeof text, "%" PRId64 "d%02" PRId64 "h", hours / 24, hours % 24);
  }
  return text;
}

}  // namespace gridcentric::cli
