// gc end: ends whole families, or one clone of a family, from outside.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "core/cli/actions.hpp"
#include "core/cli/observe.hpp"
#include "core/cli/output.hpp"
#include "core/guest/client.hpp"

namespace gridcentric::cli {
namespace {

constexpr int patience_ms = 10'000;  // until the domains are gone; they are killed, so it is soon
constexpr int look_ms = 20;
constexpr std::size_t least_prefix = 4;

using Family = std::pair<std::string, std::string>;  // host, family

std::set<Family> families_of(const std::vector<Observed> &domains, const auto &wanted) {
  std::set<Family> families;
  for (const auto &domain : domains)
    if (wanted(domain)) families.emplace(domain.host, domain.family);
  return families;
}

// Finds a family by the beginning of its UUID, as `gc ps` shows it.
std::set<Family> families_named(const std::vector<Observed> &domains, const std::string &prefix) {
  if (prefix.size() < least_prefix)
    throw UsageError{"FAMILY is '" + prefix + "', expected at least the first " +
                     std::to_string(least_prefix) + " characters of its name, as '" + program() +
                     " ps' shows them"};
  const auto found =
      families_of(domains, [&](const Observed &domain) { return domain.family.starts_with(prefix); });
  if (found.size() > 1)
    throw UsageError{"FAMILY is '" + prefix + "', which matches " + std::to_string(found.size()) +
                     " families: give more of the name"};
  if (found.empty())
    throw guest::Error(GC_E_NO_SUCH_DOMAIN, "no family has a name that begins with '" + prefix + "': '" +
                                                std::string(program()) + " ps' lists the families");
  return found;
}

std::set<Family> families_wanted(const std::vector<Observed> &domains, const Arguments &arguments) {
  const int ways = !arguments.words.empty() + arguments.has("--pid") + arguments.has("--all");
  if (ways != 1) throw UsageError{"expected exactly one of FAMILY, --pid PID and --all"};
  if (arguments.has("--all")) return families_of(domains, [](const Observed &) { return true; });
  if (!arguments.has("--pid")) return families_named(domains, arguments.words[0]);
  const int pid = parse_integer(arguments.value("--pid"), "--pid");
  auto found = families_of(domains, [&](const Observed &domain) { return domain.pid == pid; });
  if (found.empty())
    throw guest::Error(GC_E_NO_SUCH_DOMAIN, "process " + std::to_string(pid) +
                                                " is not a domain of any of your hosts: '" + program() +
                                                " ps' lists the domains");
  return found;
}

// Returns when all the domains that asked_for() selects are gone.
void wait_until_gone(const auto &asked_for) {
  std::vector<Observed> left;
  for (int waited = 0; waited < patience_ms; waited += look_ms) {
    left = observe_all(nullptr);
    std::erase_if(left, [&](const Observed &domain) { return !asked_for(domain); });
    if (left.empty()) return;
    ::usleep(look_ms * 1000);
  }
  throw guest::Error(GC_E_TIMED_OUT, "the host was asked to end " + std::to_string(left.size()) +
                                         " domains that still exist, among them vmid " +
                                         std::to_string(left.front().vmid) + " (process " +
                                         std::to_string(left.front().pid) + ")");
}

int end_clone(const std::vector<Observed> &domains, const Family &family, int vmid) {
  const auto asked_for = [&](const Observed &domain) {
    return domain.host == family.first && domain.family == family.second && domain.vmid == vmid;
  };
  if (vmid <= 0)
    throw UsageError{"VMID is " + std::to_string(vmid) +
                     ", expected that of a clone, 1 or more; leave it out to end the whole family"};
  if (std::none_of(domains.begin(), domains.end(), asked_for))
    throw guest::Error(GC_E_NO_SUCH_DOMAIN, "family " + family.second + " has no vmid " +
                                                std::to_string(vmid) + ": '" + program() +
                                                " ps' lists its domains");
  end_domain(family.first, family.second, vmid);
  wait_until_gone(asked_for);
  show(stdout, format("ended vmid %d of %s\n", vmid, family.second.c_str()));
  return 0;
}

}  // namespace

int end(const Arguments &arguments) {
  const auto domains = observe_all(nullptr);
  const auto families = families_wanted(domains, arguments);
  if (arguments.words.size() > 1)
    return end_clone(domains, *families.begin(), parse_integer(arguments.words[1], "VMID"));
  std::map<Family, int> sizes;
  for (const auto &domain : domains) ++sizes[{domain.host, domain.family}];
  for (const auto &[host, family] : families) end_domain(host, family, 0);
  wait_until_gone([&](const Observed &domain) { return families.contains({domain.host, domain.family}); });
  for (const auto &family : families)
    show(stdout, format("ended %s: %d %s\n", family.second.c_str(), sizes[family],
                        sizes[family] == 1 ? "domain" : "domains"));
  return 0;
}

}  // namespace gridcentric::cli
