// gc ps: the domains of all hosts of the user, as a table.
#include <cstdio>

#include "core/cli/actions.hpp"
#include "core/cli/json.hpp"
#include "core/cli/observe.hpp"
#include "core/cli/output.hpp"

namespace gridcentric::cli {
namespace {

std::string domain_json(const Observed &domain) {
  JsonObject object;
  object.text("host", "unix:" + domain.host)
      .text("hypervisor", domain.hypervisor)
      .text("family", domain.family)
      .number("vmid", domain.vmid);
  domain.parent < 0 ? object.null("parent") : object.number("parent", domain.parent);
  object.text("ip", domain.ip).text("ticket", domain.ticket).text("state", domain.state);
  domain.pid < 0 ? object.null("pid") : object.number("pid", domain.pid);
  return object.number("age_ms", domain.age_ms).text("name", domain.name).str();
}

}  // namespace

int list_all(const Arguments &arguments) {
  std::vector<std::string> complaints;
  const auto domains = observe_all(&complaints);
  for (const auto &complaint : complaints) show(stderr, format("%s ps: ", program()) + complaint + "\n");
  if (arguments.has("--json")) {
    std::vector<std::string> elements;
    elements.reserve(domains.size());
    for (const auto &domain : domains) elements.push_back(domain_json(domain));
    std::printf("%s\n", json_list(elements).c_str());
    return 0;
  }
  std::printf("%-8s %5s %6s %-15s %-8s %7s %7s %-10s %s\n", "FAMILY", "VMID", "PARENT", "ADDRESS", "STATE",
              "PID", "AGE", "HYPERVISOR", "NAME");
  for (const auto &domain : domains) {
    const std::string parent = domain.parent < 0 ? "-" : std::to_string(domain.parent);
    const std::string pid = domain.pid < 0 ? "-" : std::to_string(domain.pid);
    show(stdout, format("%-8.8s %5d %6s %-15s %-8s %7s %7s %-10s ", domain.family.c_str(), domain.vmid,
                        parent.c_str(), domain.ip.c_str(), domain.state.c_str(), pid.c_str(),
                        age_text(domain.age_ms).c_str(), domain.hypervisor.c_str()) +
                     one_line(domain.name) + "\n");
  }
  return 0;
}

}  // namespace gridcentric::cli
