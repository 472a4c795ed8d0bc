// gc host: runs a host, or asks one about itself.
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <gridcentric/host.hpp>

#include "core/cli/actions.hpp"
#include "core/cli/hypervisors.hpp"
#include "core/cli/json.hpp"
#include "core/cli/observe.hpp"
#include "core/cli/output.hpp"
#include "core/cli/python.hpp"
#include "core/guest/client.hpp"
#include "core/guest/machine_page.hpp"
#include "core/guest/private_host.hpp"

namespace gridcentric::cli {
namespace {

using Info = std::vector<std::pair<std::string, std::string>>;

// If no host runs: what one would do here.
Info info_without_host() {
  const Driver &driver = default_driver();
  const Capabilities can = driver.here();
  return {{"host", "none"},
          {"version", GC_VERSION},
          {"hypervisor", driver.name},
          {"mode", can.mode},
          {"why", can.why}};
}

Info info_of(const std::string &host) {
  Info info = {{"host", "unix:" + host}};
  for (auto &entry : observe_info(host)) info.push_back(std::move(entry));
  return info;
}

// About the host that is named, else the shared one in its usual place, else the private ones that run now.
std::vector<Info> infos_of(const Arguments &arguments) {
  if (arguments.has("--socket")) return {info_of(arguments.value("--socket"))};
  if (guest::names_host() || guest::in_machine()) return {info_of(guest::find_or_start_host())};
  if (const std::string path = default_socket_path(); ::access(path.c_str(), F_OK) == 0)
    return {info_of(path)};
  std::vector<Info> infos;
  for (const auto &host : find_hosts()) {
    try {
      infos.push_back(info_of(host));
    } catch (const std::exception &) {
      // It has just ended, or belongs to another user.
    }
  }
  if (infos.empty()) infos.push_back(info_without_host());
  return infos;
}

void print_infos(const std::vector<Info> &infos, bool as_json) {
  std::vector<std::string> objects;
  for (const auto &info : infos) {
    JsonObject object;
    if (!as_json && &info != &infos.front()) std::printf("\n");
    for (const auto &[key, value] : info) {
      if (!as_json) show(stdout, format("%-10s ", key.c_str()) + one_line(value) + "\n");
      object.text(key, value);
    }
    objects.push_back(object.str());
  }
  if (as_json) std::printf("%s\n", json_list(objects).c_str());
}

// The option's number, at least `least`; `otherwise` if the option is not given.
int count(const Arguments &arguments, const char *option, int least, int otherwise) {
  if (!arguments.has(option)) return otherwise;
  const int value = parse_integer(arguments.value(option), option);
  if (value < least)
    throw UsageError{std::string(option) + " is " + std::to_string(value) + ", expected at least " +
                     std::to_string(least)};
  return value;
}

// GRIDCENTRIC_CPUS, for private hosts: the guest that starts one has no command line to give --cpus on.
int cpus_of_environment() {
  const char *value = std::getenv("GRIDCENTRIC_CPUS");
  if (value == nullptr || *value == '\0') return 0;
  const int cpus = parse_integer(value, "GRIDCENTRIC_CPUS");
  if (cpus < 1) throw UsageError{"GRIDCENTRIC_CPUS is " + std::string(value) + ", expected at least 1"};
  return cpus;
}

// Each guest's connection takes a descriptor, and so does each clone: allow as many as the hard limit does.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Reports of up to 1 MiB come and go: each is mapped for itself, so that the memory of those that are forgotten goes back to the
// system (mallopt(3): once a large block has been freed, the C library would keep the next ones in its heap).
void return_large_blocks() {
#ifdef __GLIBC__
  ::mallopt(M_MMAP_THRESHOLD, 128 * 1024);
#endif
}

// Removes what killed private hosts have left behind, then what drivers in Python have.
int collect_garbage() {
  for (const auto &folder : remove_dead_hosts()) std::printf("removed %s\n", folder.c_str());
  std::fflush(stdout);
  try {
    return become_python("gridcentric.hypervisors", {"gc"});
  } catch (const guest::Error &) {
    return 0;  // without Python there were none
  }
}

int host_in_python(const Driver &driver, const Arguments &arguments) {
  std::vector<std::string> words = {"host", "--socket", arguments.value("--socket", default_socket_path())};
  for (const auto &[name, value] : arguments.options) {
    if (name == "--cpus") {
      words.insert(words.end(), {"--cpus", std::to_string(count(arguments, "--cpus", 1, 0))});
    } else if (name != "--socket" && name != "--hypervisor") {
      const auto options = driver.host_options;
      if (std::none_of(options.begin(), options.end(), [&](const auto &one) { return name == one.name; }))
        throw UsageError{name + " does not go with --hypervisor " + driver.name};
      words.push_back(name);
      if (takes_value(options, name)) words.push_back(value);
    }
  }
  return become_driver(driver, words);
}

}  // namespace

int host(const Arguments &arguments) {
  if (arguments.has("--info")) {
    print_infos(infos_of(arguments), arguments.has("--json"));
    return 0;
  }
  if (arguments.has("--json")) throw UsageError{"--json goes with --info"};
  if (arguments.has("--gc")) return collect_garbage();
  const Driver &driver = chosen_driver(arguments, true);
  check_options_of_others(arguments, driver, &Driver::host_options);
  if (driver.in_python) return host_in_python(driver, arguments);
  HostOptions options;
  options.socket = arguments.value("--socket");
  options.hypervisor = driver.name;
  options.control = arguments.has("--control");
  options.seed = static_cast<std::uint64_t>(count(arguments, "--seed", 0, 0));
  options.address_base = arguments.value("--address-base", options.address_base);
  options.private_fd = count(arguments, "--private", 0, -1);
  options.cpus = count(arguments, "--cpus", 1, options.private_fd >= 0 ? cpus_of_environment() : 0);
  raise_descriptor_limit();
  return_large_blocks();
  std::string error;
  const int status = run_host(options, &error);
  if (status == 2) throw UsageError{error};
  if (status != 0) show(stderr, format("%s host: ", program()) + error + "\n");
  return status;
}

}  // namespace gridcentric::cli
