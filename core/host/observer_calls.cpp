// What is shown to observers (gc ps, gc top, gc host --info), and the one thing they may do.
#include <unistd.h>

#include "core/host/host.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::host {

void Host::info(Session &session, const wire::Request &request) {
  const Capabilities can = hypervisor_.capabilities();
  std::string supports;
  const auto add = [&](bool able, const char *what) {
    if (able) supports.append(supports.empty() ? "" : ",").append(what);
  };
  add(can.clone, "clone");
  add(can.clone_of_clone, "clone_of_clone");
  add(can.whole_machine, "whole_machine");
  // How a process clones is known where it runs; for everybody else it is said how one would where the host runs.
  const bool of_this_one = !can.mode.empty() && !session.mode.empty();
  const std::string &mode = of_this_one ? session.mode : can.mode;
  const std::string &why = of_this_one ? session.why : can.why;
  list(session, request.id, "info",
       {
           "version " + std::string(GC_VERSION),
           "protocol 1",
           "hypervisor " + std::string(hypervisor_.name()),
           "mode " + wire::percent_encode(mode),
           "why " + wire::percent_encode(why),
           "cpus " + std::to_string(rules_.cpus()),
           "cpus_free " + std::to_string(rules_.cpus_free()),
           "families " + std::to_string(rules_.family_count()),
           "domains " + std::to_string(rules_.domain_count()),
           "pid " + std::to_string(getpid()),
           "supports " + (supports.empty() ? "-" : supports),
       });
}

void Host::list_all(Session &session, const wire::Request &request) {
  std::vector<std::string> items;
  for (const DomainInfo &domain : rules_.all_domains()) {
    const int pid = hypervisor_.pid_of(domain.key);
    items.push_back(
        domain.family + " " + domain_fields(domain) + " " + (pid < 0 ? "-" : std::to_string(pid)) + " " +
        std::to_string(loop_.now_ms() - domain.born_ms) + " " + wire::percent_encode(domain.name));
  }
  list(session, request.id, "list_all", items);
}

void Host::kill_domain(Session &session, const wire::Request &request) {
  std::int64_t vmid = 0;
  if (const Answer bad = read_number("vmid", request.args[1], &vmid); !bad.ok())
    return answer(session, request, bad);
  answer(session, request, rules_.kill_domain(request.args[0], vmid));
}

}  // namespace gridcentric::host
