// The C API (gridcentric/gc-guest.h): checks pointers, calls client.hpp, turns errors into errno and structs into blocks.
#include "core/guest/capi.hpp"

namespace guest = gridcentric::guest;
using namespace guest::capi;

namespace {

using guest::capi::fill;

thread_local std::string last_error;
thread_local guest::Call *call_in_use = nullptr;  // of gc_use_call()

std::string text_of(const gc_uuid_t &ticket) {
  return std::string(ticket.value, strnlen(ticket.value, sizeof ticket.value));
}

void fill(gc_uuid_t *ticket, const std::string &text) { fill(ticket->value, sizeof ticket->value, text); }

void fill(gc_ticket_info_t *info, const guest::TicketInfo &ticket) {
  fill(&info->id, ticket.id);
  info->status = ticket.status;
  info->cpus = ticket.cpus;
  info->vms = ticket.vms;
  info->mincpuspervm = ticket.mincpuspervm;
}

void fill(gc_domain_t *place, const guest::Domain &domain) {
  place->vmid = domain.vmid;
  place->parent = domain.parent;
  fill(place->ip, sizeof place->ip, domain.ip);
  fill(&place->ticket, domain.ticket);
  fill(place->state, sizeof place->state, domain.state);
}

template <typename Type, typename Source>
int give_list(const std::vector<Source> &source, Type **list, std::size_t *count) {
  auto *memory = block<Type>(source.size());
  for (std::size_t at = 0; at < source.size(); ++at) fill(&memory[at], source[at]);
  *list = memory;
  *count = source.size();
  return 0;
}

int give_results(const std::vector<guest::Result> &source, gc_result_t **results, std::size_t *count) {
  std::size_t report_bytes = 0;
  for (const auto &result : source) report_bytes += result.report ? result.report->size() + 1 : 0;
  auto *memory = block<gc_result_t>(source.size(), report_bytes);
  auto *report = reinterpret_cast<unsigned char *>(memory + source.size());
  for (std::size_t at = 0; at < source.size(); ++at) {
    const auto &from = source[at];
    memory[at] = {from.vmid, from.how, from.status, from.report.has_value(), 0, nullptr};
    if (!from.report) continue;
    memory[at].report_size = from.report->size();
    memory[at].report = report;
    report += from.report->copy(reinterpret_cast<char *>(report), from.report->size()) + 1;
  }
  *results = memory;
  *count = source.size();
  return 0;
}

int wait_for(const gc_uuid_t &ticket, int timeout, bool forget, gc_result_t **results, std::size_t *count) {
  const std::string name = text_of(ticket);
  need(results, "results", "the address of a pointer");
  need(count, "count", "the address of a size_t");
  return give_results(guest::wait(name, timeout, used_call(), forget), results, count);
}

}  // namespace

int guest::capi::fail(int code, const std::string &text) noexcept {
  last_error = text;
  errno = code;
  return -1;
}

guest::Call *guest::capi::used_call() noexcept { return call_in_use; }

extern "C" {

const char *gc_error_text(void) { return last_error.c_str(); }

const char *gc_error_name(int error) {
  const auto *row = guest::find_error(error);
  return row != nullptr ? row->word : nullptr;
}

const char *gc_version(void) { return GC_VERSION; }

int gc_request_ticket(int maxcpus, int minvms, int mincpuspervm, int timeout, gc_uuid_t *ticket) {
  return guarded([&] {
    need(ticket, "ticket", "the address of a gc_uuid_t");
    fill(ticket, guest::request_ticket(maxcpus, minvms, mincpuspervm, timeout, used_call()));
    return 0;
  });
}

int gc_release_ticket(gc_uuid_t ticket) {
  return guarded([&] {
    guest::release_ticket(text_of(ticket), used_call());
    return 0;
  });
}

int gc_prepare(int timeout) {
  return guarded([&] { return guest::prepare(timeout, used_call()); });
}

int gc_list_tickets(gc_ticket_info_t **tickets, size_t *count) {
  return guarded([&] {
    need(tickets, "tickets", "the address of a pointer");
    need(count, "count", "the address of a size_t");
    return give_list(guest::list_tickets(used_call()), tickets, count);
  });
}

int gc_ticket_info(gc_uuid_t ticket, gc_ticket_info_t *info) {
  return guarded([&] {
    const std::string name = text_of(ticket);
    need(info, "info", "the address of a gc_ticket_info_t");
    fill(info, guest::ticket_info(name, used_call()));
    return 0;
  });
}

const char *gc_ticket_status_string(gc_ticket_status_t status) { return guest::ticket_status_name(status); }

int gc_clone(gc_uuid_t ticket) {
  return guarded([&] { return guest::clone(text_of(ticket), used_call(), found_by_runtime()); });
}

int gc_clone_of(int vmid, gc_uuid_t ticket, gc_domain_t **clones, size_t *count) {
  return guarded([&] {
    need(clones, "clones", "the address of a pointer");
    need(count, "count", "the address of a size_t");
    return give_list(guest::clone_of(vmid, text_of(ticket), used_call()), clones, count);
  });
}

int gc_serve(void) {
  return guarded([&] {
    if (!runtime_carries_out_orders())
      guest::carry_out_orders_with(
          [](const std::string &ticket, int) { guest::clone(ticket, nullptr, found_by_runtime()); });
    guest::serve(used_call());
    return 0;
  });
}

int gc_vmid(void) {
  return guarded([] { return guest::vmid(used_call()); });
}

int gc_ismaster(void) {
  return guarded([] { return guest::ismaster(used_call()) ? 1 : 0; });
}

int gc_my_ip(char *ip, size_t size) {
  return guarded([&] {
    need(ip, "ip", "the address of a buffer of 46 bytes");
    const std::string address = guest::my_ip(used_call());
    if (address.size() >= size) {
      throw guest::Error(GC_E_INVALID_ARGUMENT,
                         "size is " + std::to_string(size) + ", the address '" + address + "' needs " +
                             std::to_string(address.size() + 1) + " (46 is always enough)");
    }
    std::memcpy(ip, address.c_str(), address.size() + 1);
    return 0;
  });
}

int gc_list_domains(gc_domain_t **domains, size_t *count) {
  return guarded([&] {
    need(domains, "domains", "the address of a pointer");
    need(count, "count", "the address of a size_t");
    return give_list(guest::list_domains(used_call()), domains, count);
  });
}

int gc_sync(gc_uuid_t ticket, int timeout) {
  return guarded([&] {
    const std::string name = text_of(ticket);
    guest::sync(name.empty() ? std::nullopt : std::optional(name), timeout, used_call());
    return 0;
  });
}

int gc_join(const void *report, size_t size) {
  return guarded([&]() -> int {
    if (size > 0) need(report, "report", "the address of size bytes, or size 0");
    guest::join(std::string_view(static_cast<const char *>(report), size), used_call());
  });
}

int gc_join_noreport(void) {
  return guarded([]() -> int { guest::join(std::nullopt, used_call()); });
}

int gc_wait(gc_uuid_t ticket, int timeout, gc_result_t **results, size_t *count) {
  return guarded([&] { return wait_for(ticket, timeout, false, results, count); });
}

int gc_wait_and_forget(gc_uuid_t ticket, int timeout, gc_result_t **results, size_t *count) {
  return guarded([&] { return wait_for(ticket, timeout, true, results, count); });
}

int gc_kill(int vmid) {
  return guarded([&] {
    guest::kill(vmid, used_call());
    return 0;
  });
}

int gc_on_clone(gc_clone_handler_t handler, void *data) {
  return guarded([&] {
    if (handler == nullptr) throw guest::Error(GC_E_INVALID_ARGUMENT, "handler is NULL, expected a function");
    guest::on_clone([handler, data](int vmid) { handler(vmid, data); });
    return 0;
  });
}

int gc_before_clone(gc_before_handler_t handler, void *data) {
  return guarded([&] {
    if (handler == nullptr) throw guest::Error(GC_E_INVALID_ARGUMENT, "handler is NULL, expected a function");
    guest::before_clone([handler, data] {
      const int refused = handler(data);
      if (refused == 0) return;
      throw guest::Error(GC_E_CLONE_FAILED, "a handler of gc_before_clone() returned " +
                                                std::to_string(refused) +
                                                ", not 0: no clone was made, the ticket is as it was");
    });
    return 0;
  });
}

int gc_explain(char **report) {
  return guarded([&] {
    need(report, "report", "the address of a pointer");
    const auto explanation = guest::explain(found_by_runtime());
    *report = block<char>(explanation.report.size());
    std::memcpy(*report, explanation.report.data(), explanation.report.size());
    return explanation.can_clone ? 1 : 0;
  });
}

gc_call_t *gc_call_new(void) {
  gc_call_t *made = nullptr;
  guarded([&] {
    made = new gc_call;
    return 0;
  });
  return made;
}

void gc_use_call(gc_call_t *call) { call_in_use = call != nullptr ? &call->call : nullptr; }

void gc_cancel(gc_call_t *call) {
  if (call != nullptr) call->call.cancel();
}

void gc_call_free(gc_call_t *call) {
  if (call != nullptr && call_in_use == &call->call) call_in_use = nullptr;
  delete call;
}

void gc_free(void *memory) { std::free(memory); }

}  // extern "C"
