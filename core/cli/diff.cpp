// gc diff: what a domain has changed in its private folders.
#include <gridcentric/gc-guest.h>

#include <cstdio>

#include "core/cli/actions.hpp"
#include "core/cli/json.hpp"
#include "core/cli/observe.hpp"
#include "core/cli/output.hpp"
#include "core/guest/client.hpp"
#include "core/private_files/changes.hpp"

namespace gridcentric::cli {
namespace {

// The family that gc runs in; "" if it runs in none.
std::string own_family() {
  try {
    return guest::identity().family;
  } catch (const guest::Error &error) {
    if (error.code != GC_E_NOT_IN_DOMAIN) throw;
    return "";
  }
}

// A vmid of the own family; else the process of a domain; else, outside of all families, a vmid that only one of them has.
Observed domain_meant(int number) {
  const std::string family = own_family();
  std::vector<Observed> by_vmid, by_pid;
  for (const Observed &domain : observe_all(nullptr)) {
    if (domain.vmid == number && (family.empty() || domain.family == family)) by_vmid.push_back(domain);
    if (domain.pid == number) by_pid.push_back(domain);
  }
  if (!family.empty() && by_vmid.size() == 1) return by_vmid.front();
  if (by_pid.size() == 1) return by_pid.front();
  if (by_vmid.size() == 1) return by_vmid.front();
  const std::string given = std::to_string(number), lists = std::string("'") + program() + " ps'";
  if (by_vmid.size() > 1)
    throw guest::Error(GC_E_INVALID_ARGUMENT, std::to_string(by_vmid.size()) +
                                                  " families have a domain with the vmid " + given +
                                                  ": give its pid, as " + lists + " shows it");
  throw guest::Error(GC_E_NO_SUCH_DOMAIN,
                     given + " is neither the vmid nor the pid of a domain that lives: " + lists +
                         " lists them; what a clone has changed goes with it when it ends");
}

}  // namespace

int diff(const Arguments &arguments) {
  const int number = arguments.number(0, "VMID");
  const Observed domain = domain_meant(number);
  if (domain.pid < 0)
    throw guest::Error(GC_E_NOT_SUPPORTED, "vmid " + std::to_string(domain.vmid) +
                                               " runs in no process of this computer (hypervisor " +
                                               domain.hypervisor + "): only processes have private folders");
  const bool own = domain.family == own_family() && domain.vmid == guest::vmid();
  const std::string proc = own ? "/proc/self" : "/proc/" + std::to_string(domain.pid);
  const auto changes = private_files::changes_of(proc, domain.pid);
  std::vector<std::string> elements;
  for (const auto &[kind, path] : changes) {
    const std::string letter(1, static_cast<char>(kind));
    if (arguments.has("--json"))
      elements.push_back(JsonObject().text("kind", letter).text("path", path).str());
    else
      show(stdout, letter + " " + one_line(path) + "\n");
  }
  if (arguments.has("--json")) std::printf("%s\n", json_list(elements).c_str());
  return 0;
}

}  // namespace gridcentric::cli
