#include "verbs.hpp"

#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace gridcentric::node {
namespace {

using guest::Call;

// Arguments, taken on the JavaScript thread.
class Arguments {
 public:
  explicit Arguments(Napi::Array array) : array_(array) {}

  int number(uint32_t index) const { return array_.Get(index).As<Napi::Number>().Int32Value(); }
  bool truth(uint32_t index) const { return array_.Get(index).As<Napi::Boolean>().Value(); }
  std::string text(uint32_t index) const { return array_.Get(index).As<Napi::String>().Utf8Value(); }
  std::optional<std::string> optional_text(uint32_t index) const {
    if (array_.Get(index).IsUndefined()) return std::nullopt;
    return text(index);
  }
  std::optional<std::string> optional_bytes(uint32_t index) const {
    const Napi::Value value = array_.Get(index);
    if (value.IsUndefined()) return std::nullopt;
    const auto bytes = value.As<Napi::Buffer<char>>();
    return std::string(bytes.Data(), bytes.Length());
  }
  std::vector<generators::Repeating> repeating(uint32_t index) const {
    std::vector<generators::Repeating> found;
    const auto list = array_.Get(index).As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); ++i) {
      const auto pair = list.Get(i).As<Napi::Array>();
      found.push_back(
          {pair.Get(0u).As<Napi::String>().Utf8Value(), pair.Get(1u).As<Napi::String>().Utf8Value()});
    }
    return found;
  }

 private:
  Napi::Array array_;
};

// Results, made on the JavaScript thread.
Napi::Value nothing(Napi::Env env) { return Napi::Boolean::New(env, true); }

Napi::Object to_object(Napi::Env env, const guest::TicketInfo &ticket) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("id", ticket.id);
  object.Set("status", guest::ticket_status_name(ticket.status));
  object.Set("cpus", ticket.cpus);
  object.Set("vms", ticket.vms);
  object.Set("mincpuspervm", ticket.mincpuspervm);
  return object;
}

Napi::Object to_object(Napi::Env env, const guest::Domain &domain) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("vmid", domain.vmid);
  object.Set("parent", domain.parent);
  object.Set("ip", domain.ip);
  object.Set("ticket", domain.ticket);
  object.Set("state", domain.state);
  return object;
}

Napi::Object to_object(Napi::Env env, const guest::Result &result) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("vmid", result.vmid);
  object.Set("how", guest::end_kind_name(result.how));
  object.Set("status", result.status);
  if (result.report) {
    object.Set("report", Napi::Buffer<char>::Copy(env, result.report->data(), result.report->size()));
  } else {
    object.Set("report", env.Undefined());
  }
  return object;
}

template <typename Item>
Answer array_of(std::vector<Item> items) {
  return [items = std::move(items)](Napi::Env env) -> Napi::Value {
    Napi::Array array = Napi::Array::New(env, items.size());
    for (uint32_t i = 0; i < items.size(); ++i) array.Set(i, to_object(env, items[i]));
    return array;
  };
}

using Maker = Work (*)(const Arguments &);

const std::map<std::string, Maker> makers = {
    {"request_ticket",
     [](const Arguments &a) -> Work {
       return [maxcpus = a.number(0), minvms = a.number(1), mincpuspervm = a.number(2),
               timeout = a.number(3)](Call *call) -> Answer {
         return [ticket = guest::request_ticket(maxcpus, minvms, mincpuspervm, timeout, call)](
                    Napi::Env env) -> Napi::Value { return Napi::String::New(env, ticket); };
       };
     }},
    {"release_ticket",
     [](const Arguments &a) -> Work {
       return [ticket = a.text(0)](Call *call) -> Answer {
         guest::release_ticket(ticket, call);
         return nothing;
       };
     }},
    {"list_tickets",
     [](const Arguments &) -> Work {
       return [](Call *call) { return array_of(guest::list_tickets(call)); };
     }},
    {"ticket_info",
     [](const Arguments &a) -> Work {
       return [ticket = a.text(0)](Call *call) -> Answer {
         return [info = guest::ticket_info(ticket, call)](Napi::Env env) -> Napi::Value {
           return to_object(env, info);
         };
       };
     }},
    {"clone",
     [](const Arguments &a) -> Work {
       return [ticket = a.text(0), repeating = a.repeating(1)](Call *call) -> Answer {
         return [vmid = guest::clone(ticket, call, repeating)](Napi::Env env) -> Napi::Value {
           return Napi::Number::New(env, vmid);
         };
       };
     }},
    {"clone_of",
     [](const Arguments &a) -> Work {
       return [vmid = a.number(0), ticket = a.text(1)](Call *call) {
         return array_of(guest::clone_of(vmid, ticket, call));
       };
     }},
    {"serve",
     [](const Arguments &) -> Work {
       return [](Call *call) -> Answer {
         guest::serve(call);
         return nothing;
       };
     }},
    {"prepare",
     [](const Arguments &a) -> Work {
       return [timeout = a.number(0)](Call *call) -> Answer {
         return [mib = guest::prepare(timeout, call)](Napi::Env env) -> Napi::Value {
           return Napi::Number::New(env, mib);
         };
       };
     }},
    {"list_domains",
     [](const Arguments &) -> Work {
       return [](Call *call) { return array_of(guest::list_domains(call)); };
     }},
    {"sync",
     [](const Arguments &a) -> Work {
       return [ticket = a.optional_text(0), timeout = a.number(1)](Call *call) -> Answer {
         guest::sync(ticket, timeout, call);
         return nothing;
       };
     }},
    {"join",
     [](const Arguments &a) -> Work {
       return [report = a.optional_bytes(0)](Call *call) -> Answer { guest::join(report, call); };
     }},
    {"wait",
     [](const Arguments &a) -> Work {
       return [ticket = a.text(0), timeout = a.number(1), forget = a.truth(2)](Call *call) {
         return array_of(guest::wait(ticket, timeout, call, forget));
       };
     }},
    {"kill",
     [](const Arguments &a) -> Work {
       return [vmid = a.number(0)](Call *call) -> Answer {
         guest::kill(vmid, call);
         return nothing;
       };
     }},
    {"explain",
     [](const Arguments &a) -> Work {
       return [repeating = a.repeating(0)](Call *) -> Answer {
         return [explanation = guest::explain(repeating)](Napi::Env env) -> Napi::Value {
           Napi::Object object = Napi::Object::New(env);
           object.Set("can_clone", explanation.can_clone);
           object.Set("report", explanation.report);
           return object;
         };
       };
     }},
};

}  // namespace

Work make_work(Napi::Env env, const std::string &verb, const Napi::Array &arguments) {
  const auto maker = makers.find(verb);
  if (maker == makers.end())
    throw Napi::Error::New(env, "gridcentric: the addon has no call \"" + verb + "\"");
  return maker->second(Arguments(arguments));
}

}  // namespace gridcentric::node
