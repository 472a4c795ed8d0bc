// gc clone: clones the domain that it runs in, or orders another one to clone itself.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <gridcentric/drivers.hpp>

#include "core/cli/actions.hpp"
#include "core/cli/json.hpp"
#include "core/cli/observe.hpp"
#include "core/cli/output.hpp"
#include "core/guest/client.hpp"

namespace gridcentric::cli {
namespace {

// All domains of the family that gc runs in; empty if it runs in none.
std::vector<guest::Domain> domains_around() {
  try {
    return guest::list_domains();
  } catch (const guest::Error &error) {
    if (error.code != GC_E_NOT_IN_DOMAIN) throw;
    return {};
  }
}

// The vmid of the domain that is meant by --of. In a domain, a vmid of its family; else the pid of a domain of this user's,
// for which this process then speaks.
int vmid_meant(int number) {
  const auto family = domains_around();
  if (std::any_of(family.begin(), family.end(), [&](const auto &domain) { return domain.vmid == number; }))
    return number;
  for (const Observed &domain : observe_all(nullptr)) {
    if (domain.pid != number) continue;
    guest::ask_about(number, domain.host);
    return domain.vmid;
  }
  throw guest::Error(GC_E_NO_SUCH_DOMAIN,
                     "--of is " + std::to_string(number) + ", which is neither a vmid of this family" +
                         (family.empty() ? " (gc runs in no domain)" : "") +
                         " nor the process of a domain of any of your hosts: '" + program() +
                         " ps' lists the domains, '" + program() + " run -- COMMAND' starts one");
}

void print_clones(const std::vector<guest::Domain> &clones, bool as_json) {
  std::vector<std::string> elements;
  for (const auto &clone : clones) {
    if (as_json)
      elements.push_back(JsonObject().number("vmid", clone.vmid).text("ip", clone.ip).str());
    else
      std::printf("clone %d %s\n", clone.vmid, clone.ip.c_str());
  }
  if (as_json) std::printf("%s\n", json_list(elements).c_str());
}

// Requests a ticket for this order, which is given back if nothing comes of it.
std::vector<guest::Domain> clone_with_new_ticket(int vmid, int count) {
  const std::string ticket = guest::request_ticket(count, count, 1, 0);
  try {
    return guest::clone_of(vmid, ticket);
  } catch (...) {
    const std::exception_ptr failure = std::current_exception();
    try {
      guest::release_ticket(ticket);
    } catch (const guest::Error &) {
      // It has been used, or the host is gone.
    }
    std::rethrow_exception(failure);
  }
}

int clone_other(const Arguments &arguments) {
  if (arguments.words.empty() != arguments.has("-n"))
    throw UsageError{"expected a ticket's UUID or -n N with --of, and not both"};
  const int target = parse_integer(arguments.value("--of"), "--of");
  const int count = arguments.has("-n") ? parse_integer(arguments.value("-n"), "-n") : 1;
  if (count < 1) throw UsageError{"-n is " + std::to_string(count) + ", expected at least 1 clone"};
  const int vmid = vmid_meant(target);
  print_clones(
      arguments.has("-n") ? clone_with_new_ticket(vmid, count) : guest::clone_of(vmid, arguments.ticket(0)),
      arguments.has("--json"));
  return 0;
}

// A hypervisor that clones one process would clone gc itself: it is the script's process, above this one, that is meant.
bool clones_one_process() {
  const Driver *driver = find_driver(guest::identity().hypervisor);
  return driver != nullptr && !driver->scripted && !driver->can.whole_machine;
}

// In the caller; each clone has what stands in for this process there (core/preload).
int clone_script(const std::string &ticket) {
  guest::clone_of(guest::vmid(), ticket);
  return 0;
}

}  // namespace

int clone(const Arguments &arguments) {
  if (arguments.has("--of")) return clone_other(arguments);
  if (arguments.has("-n")) throw UsageError{"-n is for --of; request a ticket with 'gc rt'"};
  if (arguments.words.empty()) throw UsageError{"expected a ticket's UUID, as 'gc rt' prints it"};
  const bool script = clones_one_process();
  if (script && arguments.has("--json"))
    throw UsageError{
        "--json is for hypervisors of VMs and for --of: in a script each clone reads its vmid as text"};
  const int vmid = script ? clone_script(arguments.ticket(0)) : guest::clone(arguments.ticket(0));
  if (arguments.has("--json"))
    std::printf("%s\n", JsonObject().number("vmid", vmid).str().c_str());
  else
    std::printf("%d\n", vmid);
  return 0;
}

}  // namespace gridcentric::cli
