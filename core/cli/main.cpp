// gc: VM fork for shells and for people. Dispatches to the verbs in verbs.cpp; start reading there.
#include <algorithm>
#include <cstdio>

#include "core/cli/actions.hpp"
#include "core/cli/hypervisors.hpp"
#include "core/cli/output.hpp"
#include "core/cli/python.hpp"
#include "core/guest/client.hpp"

namespace gridcentric::cli {
namespace {

constexpr int usage_exit = 2;  // as for GC_E_INVALID_ARGUMENT

void print_overview(FILE *out) {
  const char *name = program();
  std::fprintf(
      out,
      "%s - VM fork: a running machine requests resources with a ticket, clones itself and goes on.\n\n"
      "usage: %s VERB [ARGUMENT ...]\n\n",
      name, name);
  for (const auto &verb : verbs()) {
    if (!verb.hidden) std::fprintf(out, "  %s %-11s %s\n", name, verb.name, verb.summary);
  }
  std::fprintf(
      out,
      "\n'%s VERB --help' says more about a verb, '%s --version' prints the version.\n"
      "Start a program with '%s run -- COMMAND'; inside it the other verbs act on that program's domain.\n",
      name, name, name);
}

void print_usage(FILE *out, const Verb &verb) {
  std::fprintf(out, "usage: %s %s%s%s%s\n", program(), verb.name, verb.options.empty() ? "" : " [OPTION ...]",
               *verb.usage != '\0' ? " " : "", verb.usage);
}

void print_help(const Verb &verb) {
  print_usage(stdout, verb);
  std::printf("\n%s\n", verb.summary);
  if (*verb.details != '\0') std::printf("\n%s\n", verb.details);
  if (verb.options.empty()) return;
  std::printf("\n");
  for (const auto &option : verb.options) {
    std::printf("  %-20s %s\n", option.shown().c_str(), option.help);
  }
}

// How many letters have to be inserted, deleted or changed (Levenshtein).
std::size_t distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  for (std::size_t at = 0; at <= to.size(); ++at) row[at] = at;
  for (std::size_t line = 1; line <= from.size(); ++line) {
    std::size_t diagonal = row[0];
    row[0] = line;
    for (std::size_t at = 1; at <= to.size(); ++at) {
      const std::size_t changed = diagonal + (from[line - 1] == to[at - 1] ? 0 : 1);
      diagonal = row[at];
      row[at] = std::min({changed, row[at] + 1, row[at - 1] + 1});
    }
  }
  return row.back();
}

int unknown_verb(const std::string &name) {
  const Verb *nearest = nullptr;
  std::size_t least = 3;  // any farther, and it was not a typing error
  for (const auto &verb : verbs()) {
    const std::size_t far = distance(name, verb.name);
    if (!verb.hidden && far < least && far < name.size()) {
      nearest = &verb;
      least = far;
    }
  }
  show(stderr, format("%s: unknown verb '%s'%s%s%s '%s --help' lists the verbs\n", program(), name.c_str(),
                      nearest != nullptr ? ": did you mean '" : ";", nearest != nullptr ? nearest->name : "",
                      nearest != nullptr ? "'?" : "", program()));
  return usage_exit;
}

void complain(const Verb &verb, const std::string &text) {
  show(stderr, format("%s %s: ", program(), verb.name) + text + "\n");
}

int dispatch(const Verb &verb, const std::vector<std::string> &words) {
  // --help counts only before the words that belong to another program.
  for (const auto &word : words) {
    if (word == "--help" || word == "-h") {
      print_help(verb);
      return all_written(verb.name) ? 0 : 1;
    }
    if (word == "--" || verb.shape == Shape::command) break;
  }
  try {
    if (verb.run == run || verb.run == host) {
      if (const std::string driver = driver_of_others(words); !driver.empty()) {
        std::vector<std::string> rest = {verb.name};
        rest.insert(rest.end(), words.begin() + 2, words.end());
        return become_driver(driver, rest);
      }
    }
    const int status = verb.run(parse_arguments(verb, words));
    return all_written(verb.name) ? status : 1;
  } catch (const UsageError &error) {
    complain(verb, error.text);
    print_usage(stderr, verb);
    return usage_exit;
  } catch (const guest::Error &error) {
    complain(verb, error.text);
    const auto *row = guest::find_error(error.code);
    return row != nullptr ? row->exit : 1;
  } catch (const std::exception &error) {
    complain(verb, error.what());
    return 1;
  }
}

}  // namespace
}  // namespace gridcentric::cli

int main(int count, char **given) {
  using namespace gridcentric;
  if (count > 0) cli::set_program(given[0]);
  if (count < 2) {
    cli::print_overview(stderr);
    return cli::usage_exit;
  }
  const std::string name = given[1];
  if (name == "--help" || name == "-h" || name == "help") {
    const cli::Verb *verb = count > 2 ? cli::find_verb(given[2]) : nullptr;
    if (count > 2 && verb == nullptr) return cli::unknown_verb(given[2]);
    verb != nullptr ? cli::print_help(*verb) : cli::print_overview(stdout);
    return cli::all_written(verb != nullptr ? verb->name : "") ? 0 : 1;
  }
  if (name == "--version") {
    std::printf("gc (gridcentric) %s\n", GC_VERSION);
    return cli::all_written("") ? 0 : 1;
  }
  const cli::Verb *verb = cli::find_verb(name);
  if (verb == nullptr) return cli::unknown_verb(name);
  // Only `gc run` starts a domain; all other verbs only ask about the one that they run in.
  if (verb->run != cli::run) guest::ask_only();
  return cli::dispatch(*verb, {given + 2, given + count});
}
