// The table of verbs: the name, arguments, help and function of each.
#include <gridcentric/gc-guest.h>

#include "core/cli/actions.hpp"
#include "core/cli/hypervisors.hpp"

namespace gridcentric::cli {
namespace {

const Option json = {"--json", nullptr, "print JSON"};

constexpr std::size_t any_number = static_cast<std::size_t>(-1);

// Tickets, and clone.
std::vector<Verb> tickets() {
  return {
      {"rt",
       "MAXCPUS MINVMS MINCPUSPERVM TIMEOUT",
       "request a ticket: CPUs for clones",
       "Prints 'ticket UUID'. Reserves the largest multiple of MINCPUSPERVM that is free and at most\n"
       "MAXCPUS, once that is enough for MINVMS clones; until then it waits in line. TIMEOUT is in\n"
       "milliseconds: 0 tries once, -1 waits forever.\n"
       "Exit code 16: the CPUs did not become free in time.",
       4,
       4,
       {json},
       request_ticket},
      {"lt",
       "",
       "list the family's tickets",
       "Prints a line 'ticket UUID STATUS CPUS VMS MINCPUSPERVM' for each, in the order of request, the\n"
       "master's own first.\n"
       "STATUS: pending, reserved, cloning, active or closed.",
       0,
       0,
       {json},
       list_tickets},
      {"ti", "UUID", "show one ticket", "Prints the ticket's line of 'gc lt'.", 1, 1, {json}, ticket_info},
      {"release", "UUID", "give back a ticket that was not used", "", 1, 1, {}, release_ticket},
      {"clone",
       "[UUID]",
       "make the ticket's clones of this VM, or order another domain to clone itself",
       "Prints 0 in the caller and the vmid in each clone. In a VM it clones the shell with the whole VM;\n"
       "elsewhere it clones a shell script that 'gc run' has started, and no other process of it.\n"
       "With --of: prints a line 'clone VMID IP' for each clone of that domain. It must listen for orders:\n"
       "its program was started by 'gc run', calls serve() (Python, Node, Java) or gc_serve() (C), or has\n"
       "GRIDCENTRIC_SERVE=1 in its environment. The ticket becomes that domain's.",
       0,
       1,
       {{"--of", "VMID|PID", "the domain to clone: one of this family, or a process of any of your families"},
        {"-n", "N", "with --of: request a ticket for N clones"},
        json},
       clone},
  };
}

// Who am I, and the family.
std::vector<Verb> family() {
  return {
      {"vmid", "", "print this domain's vmid: 0 in the master", "", 0, 0, {json}, vmid},
      {"ismaster",
       "",
       "exit code 0 in the master, 1 in a clone",
       "Prints nothing. Any other exit code is an error.",
       0,
       0,
       {json},
       ismaster},
      {"my-ip", "", "print this domain's address", "", 0, 0, {json}, my_ip},
      {"ld",
       "",
       "list the family's living domains",
       "Prints a line 'domain VMID PARENT IP TICKET STATE' for each, by vmid; PARENT is - for the master.",
       0,
       0,
       {json},
       list_domains},
      {"sync",
       "[UUID [TIMEOUT]]",
       "meet the ticket's clones and the domain that made them at a barrier",
       "Without UUID (or with -): the ticket that this clone was made from. TIMEOUT is in milliseconds;\n"
       "default -1, forever.\n"
       "Exit code 16: this caller timed out; 20: another member timed out or has ended.",
       0,
       2,
       {},
       sync},
      {"join",
       "[noreport]",
       "end this clone",
       "Hands a report to the domain that made it: the text of --report or the content of --file (- is\n"
       "standard input), else an empty one; with noreport, none.",
       0,
       1,
       {{"--report", "TEXT", "the report"}, {"--file", "PATH", "the report is the content of this file"}},
       join},
      {"wait",
       "UUID [TIMEOUT]",
       "wait until all the ticket's clones have ended",
       "Prints a line 'result VMID HOW STATUS REPORT' for each, by vmid. HOW: joined, exited (STATUS: exit\n"
       "code), killed (STATUS: signal) or lost. REPORT: 'text' and the report if it is text; '=' if it is\n"
       "empty; '-' if there is none; else 'base64' and the bytes. All lines of a text but the first are\n"
       "indented by two spaces. TIMEOUT is in milliseconds; default -1, forever. A host keeps the last\n"
       "1,000 closed tickets of a family and at most 128 MiB of their reports.",
       1,
       2,
       {{"--forget", nullptr, "the host forgets the ticket and its reports once they are printed"}, json},
       wait},
      {"kill",
       "VMID",
       "end a clone",
       "The clone is of the family that this program belongs to. From outside, 'gc end FAMILY VMID' ends a\n"
       "clone of any of your families.",
       1,
       1,
       {},
       kill},
  };
}

// Starting domains and hosts.
std::vector<Verb> starting() {
  return {
      {"run", "[--] COMMAND [ARGUMENT ...]", "start a program as the master of a new family", run_help(), 1,
       any_number,
       with_options_of_drivers(
           {{"--hypervisor", "NAME", hypervisor_help(false)},
            {"--cpus", "N",
             "CPUs that the private host offers (default: 64 per core); for a VM: its own (1)"},
            {"--tree", nullptr, "clone COMMAND together with all its child processes (process hypervisor)"}},
           &Driver::run_options),
       run, Shape::command},
      {"scale",
       "[FILE] [-- COMMAND [ARGUMENT ...]]",
       "start a program and clone it as users arrive",
       "Starts COMMAND as 'gc run' does and listens in front of it: HTTP, or plain TCP by connection. FILE "
       "has\n"
       "settings (TOML), which are read again when it changes and on SIGHUP; the options go before them. A\n"
       "TIME has a unit: 500ms, 30s, 5m. The exit code is the program's; 0 after SIGINT or SIGTERM.\n"
       "docs/scale.md has all the settings. Needs the Python package.",
       1,
       any_number,
       {{"--listen", "[ADDRESS:]PORT", "the port for clients"},
        {"--app", "PORT", "the port on which the program listens"},
        {"--protocol", "http|tcp", "how clients speak with it (default: http)"},
        {"--by", "SIGNAL", "users (default), connections (default for tcp), requests, cpu or latency"},
        {"--per-clone", "N", "users, connections, or requests a second, for each clone"},
        {"--target", "PERCENT|TIME", "with --by cpu: percent of a CPU; with --by latency: 95th percentile"},
        {"--min", "N", "the minimum of clones (default: 1)"},
        {"--max", "N", "the maximum of clones (default: 8)"},
        {"--cooldown", "TIME", "the least time between two steps (default: 0s)"},
        {"--drain", "TIME|never", "how long clones must have been too many before one goes (default: 60s)"},
        {"--drain-limit", "TIME|never", "how long a clone that goes keeps its users (default: 5m)"},
        {"--admin", "PORT", "for tcp: the dashboard and the metrics, on this computer only"},
        {"--logs", "marked|plain", "marked (default): lines of clone 2 begin with [2]"}},
       scale,
       Shape::forwarded},
      {"image",
       "build|ls|rm [ARGUMENT ...]",
       "build, list and remove images of VMs",
       "build [--name NAME] [--from debian|DIR|TAR] [--packages PACKAGE ...]: Debian with Node, Python and\n"
       "gridcentric.\n"
       "ls: prints a line 'NAME DIGEST SIZE from WHAT: PACKAGES' for each, and the bases they are made on.\n"
       "rm NAME: NAME is a name or a digest.\n"
       "The default image is built on first use. Images are kept in $XDG_DATA_HOME/gridcentric/images.",
       1,
       any_number,
       {{"--name", "NAME", "build: the image's name (default: default)"},
        {"--from", "debian|DIR|TAR", "build: Debian (default), or Debian with these files over it"},
        {"--packages", "PACKAGE ...", "build: Debian packages to add"},
        {"--bases", "", "rm: remove all bases; the next build takes Debian's packages as they are then"}},
       image,
       Shape::forwarded},
      {"host", "", "run a host that programs share, or ask one about itself",
       "Prints 'listening on unix:PATH' when it is ready; set GRIDCENTRIC_HOST=unix:PATH for the programs.\n"
       "On SIGTERM or SIGINT it ends all its domains and exits.",
       0, 0,
       with_options_of_drivers(
           {{"--socket", "PATH", "where to listen (default: $XDG_RUNTIME_DIR/gridcentric/host.sock)"},
            {"--hypervisor", "NAME", hypervisor_help(true)},
            {"--cpus", "N", "CPUs to offer (default: 64 per core, an overcommit)"},
            {"--control", nullptr, "for tests: a control channel and a virtual clock"},
            {"--seed", "N", "for tests: seed of UUIDs"},
            {"--address-base", "IP",
             "for tests: addresses of domains without a process count from here (default: 10.77.0.0)"},
            {"--private", "FD", "used by the library: the host of one family"},
            {"--info", nullptr, "print what the host says about itself, and exit"},
            {"--gc", nullptr, "remove what killed hosts have left behind, print what that was, and exit"},
            json},
           &Driver::host_options),
       host},
  };
}

// For people who look at what runs.
std::vector<Verb> watching() {
  return {
      {"ps", "", "list the domains of all your hosts", "", 0, 0, {json}, list_all},
      {"top",
       "",
       "watch the domains of all your hosts",
       "q or Ctrl-C quits. Memory is PSS, including child processes.",
       0,
       0,
       {{"--once", nullptr, "print one frame and exit"}},
       top},
      {"end",
       "[FAMILY [VMID]]",
       "end a family, with all its domains, or one of its clones",
       "FAMILY is the beginning of its name, as 'gc ps' shows it. Returns when all its domains are gone.\n"
       "Use it for clones that a master has left behind, and for families that do not end by themselves.\n"
       "With VMID, only that clone ends and its own clones go on; a program of the family does the same\n"
       "with 'gc kill VMID'. Only families of this user can be ended.",
       0,
       2,
       {{"--pid", "PID", "the family that process PID is a domain of, as master or clone"},
        {"--all", nullptr, "all families of all your hosts"}},
       end},
      {"diff",
       "VMID|PID",
       "list what a domain has changed in its private folders",
       "Prints a line 'KIND PATH' for each file, by path. KIND: A (added), C (changed) or D (deleted), "
       "compared\n"
       "with the real folder, so with what the family has started from. For domains of families that were\n"
       "started by 'gc run --private-files', while they live. A name is printed without what could control\n"
       "a terminal; --json has it as it is.",
       1,
       1,
       {json},
       diff},
      {"check",
       "PID",
       "check whether a process can be cloned, and if not, why",
       "Exit code 0: it can; 1: it cannot. The process is not stopped. Of a tree (gc run --tree) all "
       "processes\n"
       "are checked; PID may be any of them.",
       1,
       1,
       {json},
       check},
      {"selftest",
       "uniqueness",
       "check that each clone is unique",
       "Makes clones and compares their random numbers, names, addresses, clocks and connections. Prints a\n"
       "row for each check, and exits with 0 only if all that apply to the hypervisor have passed. A check\n"
       "that could not be made has failed.",
       1,
       any_number,
       {{"--hypervisor", "NAME", hypervisor_help(false)},
        {"--clones", "N", "how many clones (default: 3)"},
        {"--without-node", nullptr, "leave out the rows about Node, if there is no Node"},
        {"--import", "MODULE",
         "a Python module to load and check for what repeats; may be given more than once"},
        {"--require", "PACKAGE", "likewise for an npm package"},
        json},
       selftest,
       Shape::forwarded},
  };
}

// About gc itself.
std::vector<Verb> about_gc() {
  return {
      {"completion",
       "bash|zsh|fish",
       "print a shell's completion script for gc",
       "bash: source <(gc completion bash)",
       1,
       1,
       {},
       completion},
      {"manual", "", "", "Prints the man page, for the build.", 0, 0, {}, manual, Shape::plain, true},
      {"hook",
       "FILE",
       "",
       "Runs FILE and writes its exit status to descriptor 3.",
       1,
       1,
       {},
       hook,
       Shape::command,
       true},
  };
}

}  // namespace

const std::vector<Verb> &verbs() {
  static const std::vector<Verb> table = [] {
    std::vector<Verb> all;
    for (const auto part : {tickets, family, starting, watching, about_gc})
      for (auto &verb : part()) all.push_back(std::move(verb));
    return all;
  }();
  return table;
}

const Verb *find_verb(std::string_view name) {
  for (const auto &verb : verbs()) {
    if (name == verb.name) return &verb;
  }
  return nullptr;
}

}  // namespace gridcentric::cli
