// The API of VM fork for shells: each verb makes one call and prints its result as a line of words or as JSON.
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/cli/actions.hpp"
#include "core/cli/json.hpp"
#include "core/guest/client.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::cli {
namespace {

void print(const std::string &text) { std::printf("%s\n", text.c_str()); }

std::string parent_text(int parent) { return parent < 0 ? "-" : std::to_string(parent); }

std::string ticket_line(const guest::TicketInfo &ticket) {
  return "ticket " + ticket.id + " " + guest::ticket_status_name(ticket.status) + " " +
         std::to_string(ticket.cpus) + " " + std::to_string(ticket.vms) + " " +
         std::to_string(ticket.mincpuspervm);
}

std::string ticket_json(const guest::TicketInfo &ticket) {
  return JsonObject()
      .text("id", ticket.id)
      .text("status", guest::ticket_status_name(ticket.status))
      .number("cpus", ticket.cpus)
      .number("vms", ticket.vms)
      .number("mincpuspervm", ticket.mincpuspervm)
      .str();
}

std::string result_json(const guest::Result &result) {
  JsonObject object;
  object.number("vmid", result.vmid)
      .text("how", guest::end_kind_name(result.how))
      .number("status", result.status);
  // As text if the report is text, else as base64.
  if (result.report && wire::is_utf8(*result.report)) {
    object.text("report", *result.report);
  } else {
    object.null("report");
  }
  if (!result.report) return object.null("report_base64").str();
  return object.text("report_base64", result.report->empty() ? "" : wire::encode_report(result.report)).str();
}

// A report for people: text as it is, with every line but the first indented, so that none can look like a result.
// --json gives a program every byte of it.
std::string readable(const std::optional<std::string> &report) {
  if (!report || report->empty()) return wire::encode_report(report);
  if (!wire::is_printable(*report)) return "base64 " + wire::encode_report(report);
  std::string text = "text ";
  for (const char byte : *report) text.append(1, byte).append(byte == '\n' ? "  " : "");
  if (text.ends_with("\n  ")) text.resize(text.size() - 3);
  return text;
}

template <typename List, typename Line, typename Json>
int print_list(const Arguments &arguments, const List &list, Line line, Json json) {
  if (arguments.has("--json")) {
    std::vector<std::string> elements;
    elements.reserve(list.size());
    for (const auto &element : list) elements.push_back(json(element));
    print(json_list(elements));
  } else {
    for (const auto &element : list) print(line(element));
  }
  return 0;
}

std::string read_report(const std::string &path) {
  std::FILE *file = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
  std::string report;
  char bytes[65536];
  for (std::size_t size; file != nullptr && (size = std::fread(bytes, 1, sizeof bytes, file)) > 0;)
    report.append(bytes, size);
  // A folder can be opened, but not read.
  const bool whole = file != nullptr && std::ferror(file) == 0;
  const int error = errno;
  if (file != nullptr && file != stdin) std::fclose(file);
  if (!whole) throw UsageError{"cannot read the report from '" + path + "': " + std::strerror(error)};
  return report;
}

}  // namespace

int request_ticket(const Arguments &arguments) {
  const int maxcpus = arguments.number(0, "MAXCPUS");
  const int minvms = arguments.number(1, "MINVMS");
  const int mincpuspervm = arguments.number(2, "MINCPUSPERVM");
  const int timeout = arguments.number(3, "TIMEOUT");
  const std::string ticket = guest::request_ticket(maxcpus, minvms, mincpuspervm, timeout);
  print(arguments.has("--json") ? JsonObject().text("ticket", ticket).str() : "ticket " + ticket);
  return 0;
}

int release_ticket(const Arguments &arguments) {
  guest::release_ticket(arguments.ticket(0));
  return 0;
}

int list_tickets(const Arguments &arguments) {
  return print_list(arguments, guest::list_tickets(), ticket_line, ticket_json);
}

int ticket_info(const Arguments &arguments) {
  const auto ticket = guest::ticket_info(arguments.ticket(0));
  print(arguments.has("--json") ? ticket_json(ticket) : ticket_line(ticket));
  return 0;
}

int vmid(const Arguments &arguments) {
  const int vmid = guest::vmid();
  print(arguments.has("--json") ? JsonObject().number("vmid", vmid).str() : std::to_string(vmid));
  return 0;
}

int ismaster(const Arguments &arguments) {
  const bool master = guest::ismaster();
  if (arguments.has("--json")) print(JsonObject().truth("ismaster", master).str());
  return master ? 0 : 1;
}

int my_ip(const Arguments &arguments) {
  const std::string ip = guest::my_ip();
  print(arguments.has("--json") ? JsonObject().text("ip", ip).str() : ip);
  return 0;
}

int list_domains(const Arguments &arguments) {
  const auto line = [](const guest::Domain &domain) {
    return "domain " + std::to_string(domain.vmid) + " " + parent_text(domain.parent) + " " + domain.ip +
           " " + domain.ticket + " " + domain.state;
  };
  const auto json = [](const guest::Domain &domain) {
    JsonObject object;
    object.number("vmid", domain.vmid);
    domain.parent < 0 ? object.null("parent") : object.number("parent", domain.parent);
    return object.text("ip", domain.ip).text("ticket", domain.ticket).text("state", domain.state).str();
  };
  return print_list(arguments, guest::list_domains(), line, json);
}

int sync(const Arguments &arguments) {
  const bool own = arguments.words.empty() || arguments.words[0] == "-";
  guest::sync(own ? std::nullopt : std::optional(arguments.ticket(0)), arguments.number(1, "TIMEOUT", -1));
  return 0;
}

int join(const Arguments &arguments) {
  const bool has_report = arguments.has("--report") || arguments.has("--file");
  if (arguments.has("--report") && arguments.has("--file"))
    throw UsageError{"--report and --file exclude each other"};
  if (!arguments.words.empty()) {
    if (arguments.words[0] != "noreport")
      throw UsageError{"'" + arguments.words[0] +
                       "' is not 'noreport'; a report is given with --report TEXT"};
    if (has_report) throw UsageError{"noreport and a report exclude each other"};
    guest::join(std::nullopt);
  }
  guest::join(arguments.has("--file") ? read_report(arguments.value("--file")) : arguments.value("--report"));
}

int wait(const Arguments &arguments) {
  const auto line = [](const guest::Result &result) {
    return "result " + std::to_string(result.vmid) + " " + guest::end_kind_name(result.how) + " " +
           std::to_string(result.status) + " " + readable(result.report);
  };
  const std::string ticket = arguments.ticket(0);
  const int status =
      print_list(arguments, guest::wait(ticket, arguments.number(1, "TIMEOUT", -1)), line, result_json);
  // What could not be written has not been read.
  if (arguments.has("--forget") && std::fflush(stdout) == 0) guest::forget(ticket);
  return status;
}

int kill(const Arguments &arguments) {
  guest::kill(arguments.number(0, "VMID"));
  return 0;
}

}  // namespace gridcentric::cli
