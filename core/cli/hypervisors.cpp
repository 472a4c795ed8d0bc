#include "core/cli/hypervisors.hpp"

#include <deque>

#include "core/cli/python.hpp"

namespace gridcentric::cli {
namespace {

const DriverOption *find_option(std::span<const DriverOption> options, std::string_view name) {
  for (const auto &option : options)
    if (name == option.name) return &option;
  return nullptr;
}

/** The table of verbs points to its texts, so they live as long as the program. */
const char *kept(std::string text) {
  static std::deque<std::string> texts;  // a deque: what is in it does not move
  return texts.emplace_back(std::move(text)).c_str();
}

}  // namespace

const Driver &chosen_driver(const Arguments &arguments, bool tests_too) {
  const std::string name = arguments.value("--hypervisor", default_driver().name);
  const Driver *driver = find_driver(name);
  if (driver && (tests_too || !driver->scripted)) return *driver;
  throw UsageError{"--hypervisor is '" + name + "', expected " + names_of_drivers(tests_too)};
}

std::string driver_of_others(const std::vector<std::string> &words) {
  if (words.size() < 2 || words[0] != "--hypervisor") return "";
  return !find_driver(words[1]) && python_has_driver(words[1]) ? words[1] : "";
}

void check_options_of_others(const Arguments &arguments, const Driver &chosen, DriverOptions options) {
  for (const Driver *one : drivers())
    for (const auto &option : one->*options)
      if (arguments.has(option.name) && !find_option(chosen.*options, option.name))
        throw UsageError{std::string(option.name) + " goes with --hypervisor " + one->name};
}

bool takes_value(std::span<const DriverOption> options, std::string_view name) {
  const DriverOption *option = find_option(options, name);
  return !option || option->value;
}

std::vector<Option> with_options_of_drivers(std::vector<Option> options, DriverOptions of_drivers) {
  for (const Driver *one : drivers())
    for (const auto &[name, value, help, many] : one->*of_drivers)
      options.push_back({name, value, kept(std::string(one->name) + ": " + help), many});
  return options;
}

const char *hypervisor_help(bool tests_too) {
  const std::string name = default_driver().name, all = names_of_drivers(tests_too);
  return kept(name + " (default)" + all.substr(name.size()));
}

const char *run_help() {
  std::string text;
  for (const Driver *one : drivers())
    if (*one->run_help)
      text.append(text.empty() ? "" : "\n").append(one->name).append(": ").append(one->run_help);
  return kept(std::move(text));
}

}  // namespace gridcentric::cli
