#include "core/guest/exchange.hpp"

#include "core/guest/reply.hpp"

namespace gridcentric::guest {
namespace {

// Two IDs are enough: a connection carries one call at a time, and perhaps its cancel.
constexpr std::string_view call_id = "1";
constexpr std::string_view cancel_id = "2";
constexpr int take_back_ms = 1000;  // then the connection is closed, which cancels as well

struct Parts {
  std::string id;
  Exchange::Line line;
};

Parts split(const std::string &text) {
  Fields fields(text);
  Parts parts;
  parts.id = fields.text();
  parts.line.word = fields.text();
  parts.line.rest = fields.tail();
  return parts;
}

// A line of the reply to our only call; throws when it is an error, or of no call that we know.
Exchange::Line reply_line(const std::string &text) {
  const auto [id, line] = split(text);
  // "0 error ...": the host could not read the request at all, and says so of no call.
  if (line.word == "error" && (id == call_id || id == "0")) {
    Fields fields(line.rest);
    const ErrorRow *row = find_error(fields.text());
    if (row == nullptr) Fields(text).malformed();
    const std::string said = fields.tail();
    throw Error(row->code, said.empty() ? row->text : said);
  }
  if (id != call_id) Fields(text).malformed();
  return line;
}

// Collects the lines of a list until its "ok", which is the last one.
template <typename Next>
std::vector<std::string> collect(Next next) {
  std::vector<std::string> lines;
  for (;;) {
    auto line = next();
    lines.push_back(std::move(line.rest));
    if (line.word == "ok") return lines;
    if (line.word != "item") Fields(line.word + " " + lines.back()).malformed();
  }
}

}  // namespace

Exchange::Exchange(std::string_view request, Call *call, int timeout)
    : call_(call), patience_(timeout), lease_(call, &patience_) {
  lease_->send(std::string(call_id).append(" ").append(request), {}, call);
}

void Exchange::answer(std::string_view line, std::span<const int> descriptors) {
  lease_->send(std::string(call_id).append(" ").append(line), descriptors);
}

Exchange::Line Exchange::next() {
  std::string text;
  try {
    text = lease_.receive(call_, patience_);
  } catch (const Silent &) {
    throw Lease::silent(patience_);  // it takes nothing back either; the connection is closed with the lease
  } catch (const Disconnected &) {
    throw lease_.broken();
  } catch (...) {
    take_back();
    throw;
  }
  // Whatever comes of it, an ok or an error ends the call; a "0 error" may end the connection, so that one is not kept.
  if (text.starts_with("1 ok") || text.starts_with("1 error ")) lease_.done();
  return reply_line(text);
}

void Exchange::take_back() {
  try {
    lease_->send(std::string(cancel_id).append(" cancel ").append(call_id), {}, nullptr, take_back_ms);
    for (;;) {
      const auto [id, line] = split(lease_->receive(nullptr, take_back_ms));
      if (id == cancel_id) {
        lease_.done();
        return;
      }
      if (id == call_id && line.word == "ok") {
        won_ = true;
        won_fields_ = line.rest;
      }
    }
  } catch (const Disconnected &) {
    // The connection is closed with the lease; that cancels the call too.
  } catch (const Error &) {
    // A host that talks nonsense: the same.
  }
}

std::vector<std::string> call_host(std::string_view request, Call *call, int timeout) {
  Exchange exchange(request, call, timeout);
  return collect([&] { return exchange.next(); });
}

std::vector<std::string> call_observed(Connection &connection, std::string_view request, int wait_ms) {
  connection.send(std::string(call_id).append(" ").append(request));
  return collect([&] { return reply_line(connection.receive(nullptr, wait_ms)); });
}

}  // namespace gridcentric::guest
