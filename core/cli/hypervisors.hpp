// What gc needs to know about hypervisors (gridcentric/drivers.hpp): which one --hypervisor names, and which one has an option.
#pragma once
#include <gridcentric/drivers.hpp>
#include <string>

#include "core/cli/verb.hpp"

namespace gridcentric::cli {

using DriverOptions = std::span<const DriverOption> Driver::*;

// The hypervisor that --hypervisor names, or the default one. Throws UsageError. tests_too: accept those for tests as well.
const Driver &chosen_driver(const Arguments &arguments, bool tests_too);

// Throws UsageError if an option of another hypervisor was given, and names that hypervisor.
void check_options_of_others(const Arguments &arguments, const Driver &chosen, DriverOptions options);

// The driver of another Python package that these words of `gc VERB` begin with ("--hypervisor NAME"), or "": gc knows neither it
// nor its options, so it gets the other words as they are.
std::string driver_of_others(const std::vector<std::string> &words);

bool takes_value(std::span<const DriverOption> options, std::string_view name);

// The options of a verb, and those that each hypervisor adds to it.
std::vector<Option> with_options_of_drivers(std::vector<Option> options, DriverOptions of_drivers);

// "process (default) or ...", for the help of --hypervisor; never freed.
const char *hypervisor_help(bool tests_too);
// A paragraph for each hypervisor that has one; never freed.
const char *run_help();

}  // namespace gridcentric::cli
