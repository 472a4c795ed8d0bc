// The calls: a line made of arguments, a struct made of a reply. clone() is in clone.cpp.
#include "core/guest/client.hpp"

#include <unistd.h>

#include <cstdio>

#include "core/guest/exchange.hpp"
#include "core/guest/preparing.hpp"
#include "core/guest/reply.hpp"
#include "core/guest/ticket.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::guest {
namespace {

constexpr std::size_t largest_report = 1024 * 1024;

std::string words(std::string_view verb, std::initializer_list<int> numbers) {
  std::string line(verb);
  for (const int number : numbers) line.append(" ").append(std::to_string(number));
  return line;
}

TicketInfo parse_ticket(std::string_view line) {
  Fields fields(line);
  TicketInfo info;
  info.id = fields.text();
  info.status = fields.ticket_status();
  info.cpus = fields.number();
  info.vms = fields.number();
  info.mincpuspervm = fields.number();
  return info;
}

// The items of a list; its count is checked, so that a lost line cannot pass for a shorter list.
std::vector<std::string> list(std::string_view request, Call *call, int timeout = -1) {
  auto lines = call_host(request, call, timeout);
  Fields last(lines.back());
  if (last.number() != static_cast<int>(lines.size()) - 1) last.malformed();
  lines.pop_back();
  return lines;
}

std::vector<Domain> parse_domains(const std::vector<std::string> &lines) {
  std::vector<Domain> domains;
  for (const auto &line : lines) {
    Fields fields(line);
    Domain domain;
    domain.vmid = fields.number();
    domain.parent = fields.number_or(-1);
    domain.ip = fields.text();
    domain.ticket = fields.text();
    domain.state = fields.text();
    domains.push_back(std::move(domain));
  }
  return domains;
}

// A stream that another thread holds (it may be waiting for input with it) is left alone.
void flush(FILE *stream) {
  if (::ftrylockfile(stream) != 0) return;
  ::fflush_unlocked(stream);
  ::funlockfile(stream);
}

}  // namespace

std::string request_ticket(int maxcpus, int minvms, int mincpuspervm, int timeout, Call *call) {
  Exchange exchange(words("request_ticket", {maxcpus, minvms, mincpuspervm, timeout}), call, timeout);
  try {
    const auto line = exchange.next();
    Fields fields(line.rest);
    std::string ticket = fields.text();
    prepare_for(ticket);
    return ticket;
  } catch (...) {
    // Granted while the cancel was on its way: nobody will ever hear of this ticket.
    if (exchange.won()) release_ticket(exchange.won_fields());
    throw;
  }
}

void release_ticket(const std::string &ticket, Call *call) {
  call_host("release_ticket " + checked_ticket(ticket), call);
  prepare_no_longer_for(ticket);
}

std::vector<TicketInfo> list_tickets(Call *call) {
  std::vector<TicketInfo> tickets;
  for (const auto &line : list("list_tickets", call)) tickets.push_back(parse_ticket(line));
  return tickets;
}

TicketInfo ticket_info(const std::string &ticket, Call *call) {
  return parse_ticket(call_host("ticket_info " + checked_ticket(ticket), call).back());
}

int vmid(Call *call) { return known_identity(call).vmid; }
bool ismaster(Call *call) { return known_identity(call).vmid == 0; }
std::string my_ip(Call *call) { return known_identity(call).ip; }
Identity identity(Call *call) { return known_identity(call); }

std::vector<Domain> list_domains(Call *call) { return parse_domains(list("list_domains", call)); }

std::vector<Domain> clone_of(int vmid, const std::string &ticket, Call *call) {
  return parse_domains(list(words("clone_of", {vmid}) + " " + checked_ticket(ticket), call));
}

void sync(const std::optional<std::string> &ticket, int timeout, Call *call) {
  call_host(words("sync " + (ticket ? checked_ticket(*ticket) : "-"), {timeout}), call, timeout);
}

void join(std::optional<std::string_view> report, Call *call) {
  if (report && report->size() > largest_report) {
    throw Error(GC_E_TOO_LARGE, "the report has " + std::to_string(report->size()) + " bytes, at most " +
                                    std::to_string(largest_report) +
                                    " are possible: write more to a file and report its name");
  }
  // Before the host is told: from then on it may end this process.
  flush(stdout);
  flush(stderr);
  const auto bytes = report ? std::optional<std::string>(*report) : std::nullopt;
  call_host("join " + wire::encode_report(bytes), call);
  ::_exit(0);
}

void forget(const std::string &ticket) {
  try {
    call_host("forget " + checked_ticket(ticket), nullptr, 0);
  } catch (const Error &) {
    return;
  }
}

std::vector<Result> wait(const std::string &ticket, int timeout, Call *call, bool forgets) {
  std::vector<Result> results;
  for (const auto &line : list(words("wait " + checked_ticket(ticket), {timeout}), call, timeout)) {
    Fields fields(line);
    Result result;
    result.vmid = fields.number();
    result.how = fields.end_kind();
    result.status = fields.number();
    result.report = fields.report();
    results.push_back(std::move(result));
  }
  if (forgets) forget(ticket);
  return results;
}

void kill(int vmid, Call *call) { call_host(words("kill", {vmid}), call); }

std::vector<std::pair<std::string, std::string>> host_info(Call *call) {
  std::vector<std::pair<std::string, std::string>> info;
  for (const auto &line : list("info", call)) {
    Fields fields(line);
    std::string key = fields.text();
    info.emplace_back(std::move(key), fields.tail());
  }
  return info;
}

}  // namespace gridcentric::guest
