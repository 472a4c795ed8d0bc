// gc manual: the man page, made of the table of verbs and the table of errors. The build installs what this prints as gc.1.
#include <cstdio>

#include "core/cli/actions.hpp"
#include "core/guest/client.hpp"

namespace gridcentric::cli {
namespace {

// Quotes text for roff: no character of it acts as a request or an escape.
std::string roff(std::string_view text) {
  std::string out;
  for (const char letter : text) {
    const bool line_begins = out.empty() || out.back() == '\n';
    if (line_begins && (letter == '.' || letter == '\'')) out += "\\&";
    if (letter == '\\') {
      out += "\\e";
    } else if (letter == '-') {
      out += "\\-";
    } else if (letter == '\'') {
      out += "\\(aq";
    } else {
      out += letter;
    }
  }
  return out;
}

void print_roff(const std::string &line) { std::printf("%s\n", line.c_str()); }

void print_entry(const std::string &term, std::string_view text) {
  print_roff(".TP\n.B " + roff(term) + "\n" + roff(text));
}

void print_verb(const Verb &verb) {
  std::string line = std::string("gc ") + verb.name;
  if (!verb.options.empty()) line += " [OPTION ...]";
  if (*verb.usage != '\0') line += std::string(" ") + verb.usage;
  std::string summary = verb.summary;
  if (summary[0] >= 'a' && summary[0] <= 'z') summary[0] = static_cast<char>(summary[0] - 'a' + 'A');
  print_roff(".SS " + roff(line) + "\n" + roff(summary) + ".");
  if (*verb.details != '\0') print_roff(roff(verb.details));
  for (const auto &option : verb.options) print_entry(option.shown(), option.help);
}

constexpr std::pair<const char *, const char *> variables[] = {
    {"GRIDCENTRIC_HOST", "unix:PATH, the shared host to use. Unset or empty: a private one is started."},
    {"GRIDCENTRIC_GC", "Path of the gc command with which private hosts are started."},
    {"GRIDCENTRIC_CPUS", "CPUs that a private host offers (default: 64 per core)."},
    {"GRIDCENTRIC_CLONE_MODE", "pidns or plain: how processes are cloned (default: pidns where it works)."},
    {"GRIDCENTRIC_ON_MASTER_EXIT",
     "end or keep: what happens to the clones when the master ends. Unset: they go on if its exit code "
     "was 0, and end otherwise."},
    {"GRIDCENTRIC_SERVE",
     "1: the program listens for orders, such as those of gc clone --of. 0: gc run leaves it alone, and "
     "does not preload the library that makes programs cloneable."},
    {"GRIDCENTRIC_STRICT", "1: clone fails if a library is loaded whose random numbers repeat in clones."},
    {"GRIDCENTRIC_RESEEDED",
     "NAME,NAME: libraries to accept nevertheless, because the program reseeds them."},
    {"GRIDCENTRIC_HOOKS", "A folder with pre-clone, post-clone or both, used instead of /etc/gridcentric."},
    {"NO_COLOR", "If set, gc top uses no colors or styles."},
};

}  // namespace

int manual(const Arguments &) {
  print_roff(".TH GC 1 \"\" \"gridcentric " GC_VERSION "\" \"User Commands\"");
  print_roff(".SH NAME\ngc, gridcentric \\- VM fork for shells and for people");
  print_roff(
      ".SH SYNOPSIS\n.B gc\n.I VERB\n[\\fIARGUMENT\\fR ...]\n.br\n.B gridcentric\n.I VERB\n[\\fIARGUMENT\\fR "
      "...]");
  print_roff(
      ".SH DESCRIPTION\nA running machine requests resources with a ticket, clones itself and goes on: 0 in "
      "the master, a "
      "positive vmid in each clone.\n.B gc run \\-\\- COMMAND\nstarts a program as a master; inside it the "
      "other verbs act on that program\\(aqs domain. Both names are the same command.");
  print_roff(".SH VERBS");
  for (const auto &verb : verbs())
    if (!verb.hidden) print_verb(verb);
  print_roff(".SH ENVIRONMENT");
  for (const auto &[name, text] : variables) print_entry(name, text);
  print_roff(".SH EXIT STATUS");
  print_entry("0", "Success.");
  print_entry("1", "The answer is no (ismaster, check), or it could not be written.");
  for (const auto &row : guest::error_table()) print_entry(std::to_string(row.exit), row.text);
  print_roff(".SH FILES");
  print_entry("/etc/gridcentric/pre-clone",
              "Run in the caller before it is cloned; unless it exits with 0, no clone is made.");
  print_entry("/etc/gridcentric/post-clone",
              "Run in each clone and in the caller afterwards; a clone in which it fails ends.");
  return 0;
}

}  // namespace gridcentric::cli
