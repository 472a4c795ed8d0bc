// SPDX-License-Identifier: Apache-2.0
// All hypervisors, by name. A driver registers itself with a `Driver` in its own folder; core/sources.txt says which are
// compiled in. Host, guest and gc ask here what a hypervisor can do, and know no names.
#pragma once
#include <gridcentric/hypervisor.hpp>
#include <span>

namespace gridcentric {

// An option that gc has only for this hypervisor.
struct DriverOption {
  const char *name;   // "--memory"
  const char *value;  // "SIZE"; "[=SIZE]" if it may be left out; nullptr: a switch
  const char *help;
  bool many = false;  // may be given more than once
};

struct DriverSettings {
  std::uint32_t address_base =
      0;  // host byte order: addresses of domains that exist only in memory count from here
};

struct Driver {
  const char *name;
  bool is_default = false;
  bool scripted = false;   // for tests: has a Script, and a virtual clock on a host with a control channel
  bool in_python = false;  // gc becomes the command line of the driver, which is in the Python package
  bool images = false;     // `gc image` is its command
  Capabilities can{};      // wherever it works at all; without the mode
  // What its clone() does, for the refusals of other hypervisors: "clones every process of a VM".
  const char *clones = "";
  const char *run_help = "";  // a paragraph of `gc run --help`
  std::span<const DriverOption> run_options{}, host_options{};
  Capabilities (*here)() =
      nullptr;  // `can`, with the mode and the reason; nullptr: only a running host knows
  std::unique_ptr<Hypervisor> (*make)(Loop &loop,
                                      const DriverSettings &settings) = nullptr;  // nullptr: in_python
};

// The default driver first, those for tests last.
std::span<const Driver *const> drivers();
const Driver &default_driver();
const Driver *find_driver(std::string_view name);  // nullptr if there is none

// "A, B or C": the drivers for which the field is true, or all.
std::string names_of_drivers(bool Driver::*which);
std::string names_of_drivers(bool tests_too = true);

// What a refusal adds if another hypervisor can do what this one cannot: "; the NAME hypervisor DOES", or "".
std::string who_can(bool Capabilities::*what);

}  // namespace gridcentric
