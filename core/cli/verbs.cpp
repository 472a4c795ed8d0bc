// The table of verbs: what each is called, takes, says of itself, and what does it.
#include <gridcentric/gc-guest.h>

#include "core/cli/actions.hpp"
#include "core/cli/hypervisors.hpp"

namespace gridcentric::cli {
namespace {

const Option json = {"--json", nullptr, "print JSON"};

constexpr std::size_t any_number = static_cast<std::size_t>(-1);

}  // namespace

const std::vector<Verb> &verbs() {
  static const std::vector<Verb> table = {
      {"rt",
       "MAXCPUS MINVMS MINCPUSPERVM TIMEOUT",
       "request a ticket: CPUs for clones",
       "Prints 'ticket UUID'. Reserves the largest multiple of MINCPUSPERVM that is free and at most "
       "MAXCPUS, once that is\n"
       "enough for MINVMS clones; else waits in line. TIMEOUT is in milliseconds: 0 tries once, -1 waits for "
       "ever.\n"
       "Exit code 16: it could not be had in time.",
       4,
       4,
       {json},
       request_ticket},
      {"lt",
       "",
       "list the family's tickets",
       "A line 'ticket UUID STATUS CPUS VMS MINCPUSPERVM' each, in the order of request, the master's own "
       "first.\n"
       "STATUS: pending, reserved, cloning, active or closed.",
       0,
       0,
       {json},
       list_tickets},
      {"ti", "UUID", "show one ticket", "Prints its line as 'gc lt' has it.", 1, 1, {json}, ticket_info},
      {"release", "UUID", "give a ticket back that was not used", "", 1, 1, {}, release_ticket},
      {"clone",
       "UUID",
       "make the ticket's clones of this machine",
       "Prints 0 in the caller and the vmid in each clone. This clones the shell with its whole machine, as "
       "only a hypervisor\n"
       "of machines can; elsewhere a program calls clone() itself.",
       1,
       1,
       {json},
       clone},
      {"vmid", "", "print who this domain is: 0 in the master", "", 0, 0, {json}, vmid},
      {"ismaster",
       "",
       "exit code 0 in the master, 1 in a clone",
       "Prints nothing. Other exit codes are errors.",
       0,
       0,
       {json},
       ismaster},
      {"my-ip", "", "print this domain's address", "", 0, 0, {json}, my_ip},
      {"ld",
       "",
       "list the family's living domains",
       "A line 'domain VMID PARENT IP TICKET STATE' each, by vmid; PARENT is - for the master.",
       0,
       0,
       {json},
       list_domains},
      {"sync",
       "[UUID [TIMEOUT]]",
       "meet the ticket's clones and their maker at a barrier",
       "Without UUID (or with -): the ticket this clone was born of. TIMEOUT in milliseconds, default -1: "
       "for ever.\n"
       "Exit code 16: this caller's time ran out; 20: another's did, or a member has ended.",
       0,
       2,
       {},
       sync},
      {"join",
       "[noreport]",
       "end this clone",
       "Hands a report to the domain that made it: the text of --report, the content of --file (- is "
       "standard input), else\n"
       "an empty one; with noreport none.",
       0,
       1,
       {{"--report", "TEXT", "the report"}, {"--file", "PATH", "the report is the content of this file"}},
       join},
      {"wait",
       "UUID [TIMEOUT]",
       "wait until all the ticket's clones have ended",
       "A line 'result VMID HOW STATUS REPORT' each, by vmid. HOW: joined, exited (STATUS: exit code), "
       "killed (STATUS: signal)\n"
       "or lost. REPORT is 'text' and the report, where it is a text; '=' when it is empty; '-' when there "
       "is none; else\n"
       "'base64' and its bytes. Further lines of a text are indented by two spaces. TIMEOUT in milliseconds, "
       "default -1.",
       1,
       2,
       {json},
       wait},
      {"kill",
       "VMID",
       "end a clone",
       "Of the family that this program belongs to. From outside, 'gc end FAMILY VMID' ends a clone of any "
       "of your families.",
       1,
       1,
       {},
       kill},
      {"run", "[--] COMMAND [ARGUMENT ...]", "start a program as the master of a new family", run_help(), 1,
       any_number,
       with_options_of_drivers(
           {{"--hypervisor", "NAME", hypervisor_help(false)},
            {"--cpus", "N", "CPUs that the private host offers (default: 64 a core); of a VM: its own (1)"}},
           &Driver::run_options),
       run, Shape::command},
      {"image",
       "build|ls|rm [ARGUMENT ...]",
       "build, list and remove images of VMs",
       "build [--name NAME] [--from debian|DIR|TAR] [--packages PACKAGE ...]: Debian with Node, Python and "
       "gridcentric.\n"
       "ls: a line 'NAME DIGEST SIZE from WHAT: PACKAGES' each, and the bases they are made on. rm NAME: by "
       "name "
       "or digest.\n"
       "The default image is built on first use. Images are kept in $XDG_DATA_HOME/gridcentric/images.",
       1,
       any_number,
       {{"--name", "NAME", "build: the image's name (default: default)"},
        {"--from", "debian|DIR|TAR", "build: Debian (default), or Debian with these files over it"},
        {"--packages", "PACKAGE ...", "build: Debian packages to add"},
        {"--bases", "", "rm: all bases; the next build takes Debian's packages of its day"}},
       image,
       Shape::forwarded},
      {"host", "", "run a host that programs share, or ask one what it is",
       "Prints 'listening on unix:PATH' when it is ready; set GRIDCENTRIC_HOST=unix:PATH for the programs. "
       "Ends on SIGTERM and\n"
       "SIGINT with all its domains.",
       0, 0,
       with_options_of_drivers(
           {{"--socket", "PATH", "where to listen (default: $XDG_RUNTIME_DIR/gridcentric/host.sock)"},
            {"--hypervisor", "NAME", hypervisor_help(true)},
            {"--cpus", "N", "CPUs to offer (default: 64 a core, an overcommit)"},
            {"--control", nullptr, "for tests: a control channel and a virtual clock"},
            {"--seed", "N", "for tests: seed of UUIDs"},
            {"--address-base", "IP",
             "for tests: addresses of domains without a process count from here (default: 10.77.0.0)"},
            {"--private", "FD", "used by the library: the host of one family"},
            {"--info", nullptr, "print what the host says about itself, and end"},
            {"--gc", nullptr, "remove what killed hosts have left, say what that was, and end"},
            json},
           &Driver::host_options),
       host},
      {"ps", "", "list the domains of all your hosts", "", 0, 0, {json}, list_all},
      {"top",
       "",
       "watch the domains of all your hosts",
       "q or Ctrl-C ends it. Memory is PSS, with that of child processes.",
       0,
       0,
       {{"--once", nullptr, "print one frame and end"}},
       top},
      {"end",
       "[FAMILY [VMID]]",
       "end a family, with all its domains, or one of its clones",
       "FAMILY is the beginning of its name, as 'gc ps' shows it. Returns when all its domains are gone. For "
       "what a master has left,\n"
       "and for families that do not end by themselves. With VMID only that clone ends: its own clones go "
       "on, and a program of "
       "the\n"
       "family does the same by 'gc kill VMID'. Only those of this user.",
       0,
       2,
       {{"--pid", "PID", "the family that this process is a domain of, master or clone"},
        {"--all", nullptr, "all families of all your hosts"}},
       end},
      {"check",
       "PID",
       "can this process be cloned, and if not, because of what",
       "Exit code 0: it can; 1: it can't. Nothing is stopped.",
       1,
       1,
       {json},
       check},
      {"selftest",
       "uniqueness",
       "check that clones are each their own",
       "Makes clones, and compares their random numbers, names, addresses, clocks and connections: prints a "
       "row each and exits\n"
       "with 0 only when all that apply to the hypervisor have passed. What could not be checked has failed.",
       1,
       any_number,
       {{"--hypervisor", "NAME", hypervisor_help(false)},
        {"--clones", "N", "how many clones (default: 3)"},
        {"--without-node", nullptr, "leave Node's rows out, where there is no Node"},
        {"--import", "MODULE", "a Python module to load: what repeats in it fails; more than once for more"},
        {"--require", "PACKAGE", "the same of an npm package"},
        json},
       selftest,
       Shape::forwarded},
      {"completion",
       "bash|zsh|fish",
       "print the shell's completion of gc",
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
  return table;
}

const Verb *find_verb(std::string_view name) {
  for (const auto &verb : verbs()) {
    if (name == verb.name) return &verb;
  }
  return nullptr;
}

}  // namespace gridcentric::cli
