// Orders over a real socket: who listens, who may give them, and what becomes of one when somebody goes.
#include "core/wire/orders.hpp"
#include "tests/core/host_guest.hpp"

namespace {

// A master that listens on a separate connection, as a library does.
struct ServedFamily {
  explicit ServedFamily(TestHost &host)
      : control(host.guest("control")), master(host.guest("attach")), listener(host.guest("attach")) {
    CHECK(listener.say("1 serve") == "1 ok");
  }
  std::string ticket(int vms) {
    const std::string count = std::to_string(vms);
    return word_of(master.say("1 request_ticket " + count + " " + count + " 1 0"), 2);
  }
  std::string id() const { return word_of(master.greeting, 2); }

  Guest control, master, listener;
};

gridcentric::wire::Order order_in(const std::string &line) {
  const auto order = gridcentric::wire::read_order_to_clone(line);
  REQUIRE_MESSAGE(order, line);
  return *order;
}

}  // namespace

TEST_CASE("the line of an order") {
  using namespace gridcentric::wire;
  const std::string ticket = "8a1f0f0e-6d0e-4c36-8df0-9b7a0f6a2f11";
  const Order order = order_in("order 12 clone " + ticket + " 4242");
  CHECK(order.number == 12);
  CHECK(order.ticket == ticket);
  CHECK(order.pid == 4242);
  CHECK(write_order_to_clone(order) == "order 12 clone " + ticket + " 4242");
  const std::vector<std::string> wrong = {"order",
                                          "order  clone",
                                          "order 0 clone " + ticket + " 1",
                                          "order 1 clone " + ticket,
                                          "order 1 clone " + ticket + " -1",
                                          "order 1 clone " + ticket + " 1 ",
                                          "order 1 clone  " + ticket + " 1",
                                          "order 01 clone " + ticket + " 1",
                                          "order 1 clone X 1",
                                          "order 1 join " + ticket + " 1",
                                          "1 order 1 clone " + ticket + " 1",
                                          "order 1 clone " + ticket + " 2147483648"};
  for (const auto &line : wrong) CHECK_FALSE(read_order_to_clone(line));
}

TEST_CASE("an order is carried out, and its giver gets the list of clones") {
  TestHost host;
  ServedFamily family(host);
  const std::string ticket = family.ticket(2);
  family.master.write("2 clone_of 0 " + ticket + "\n");
  const auto order = order_in(family.listener.read());
  CHECK(order.ticket == ticket);
  CHECK(order.pid == getpid());
  CHECK(family.listener.say("2 clone " + ticket) == "2 ok 0");
  CHECK(family.listener.say("3 carried_out " + std::to_string(order.number)) == "3 ok");
  CHECK(family.master.read() == "2 item 1 0 10.77.0.2 " + ticket + " running");
  CHECK(family.master.read() == "2 item 2 0 10.77.0.3 " + ticket + " running");
  CHECK(family.master.read() == "2 ok 2");
  CHECK(error_of(family.listener.say("4 carried_out " + std::to_string(order.number))) ==
        "4 error invalid_argument");
}

TEST_CASE("the newest listener is given the orders; when it goes nobody listens") {
  TestHost host;
  ServedFamily family(host);
  {
    Guest newer = host.guest("attach");
    CHECK(newer.say("1 serve") == "1 ok");
    const std::string ticket = family.ticket(1);
    family.master.write("2 clone_of 0 " + ticket + "\n");
    order_in(newer.read());
    newer.hang_up();
    CHECK(error_of(family.master.read()) == "2 error clone_failed");
    CHECK(family.master.say("3 ticket_info " + ticket) == "3 ok " + ticket + " reserved 1 1 1");
  }
  CHECK(error_of(family.master.say("4 clone_of 0 " + family.ticket(1))) == "4 error not_supported");
  CHECK(family.listener.say("2 serve") == "2 ok");
  family.master.write("5 clone_of 0 " + family.ticket(1) + "\n");
  order_in(family.listener.read());
}

TEST_CASE("an order is declined, or is said to be carried out and is not: the ticket goes back") {
  TestHost host;
  ServedFamily family(host);
  CHECK(family.master.say("2 clone " + family.ticket(1)) == "2 ok 0");
  Guest clone = host.guest("as " + family.id() + " 1");
  CHECK(clone.say("1 serve") == "1 ok");
  const std::string ticket = family.ticket(1);
  family.master.write("3 clone_of 1 " + ticket + "\n");
  std::string number = std::to_string(order_in(clone.read()).number);
  CHECK(error_of(family.master.say("4 clone " + ticket)) == "4 error not_your_ticket");
  CHECK(clone.say("2 declined " + number + " too_large not%20now") == "2 ok");
  CHECK(family.master.read() == "3 error too_large not now");
  family.master.write("5 clone_of 1 " + ticket + "\n");
  number = std::to_string(order_in(clone.read()).number);
  CHECK(clone.say("3 declined " + number + " no_such_word x") == "3 ok");
  CHECK(family.master.read() == "5 error clone_failed x");
  family.master.write("6 clone_of 1 " + ticket + "\n");
  number = std::to_string(order_in(clone.read()).number);
  CHECK(clone.say("4 carried_out " + number) == "4 ok");
  CHECK(error_of(family.master.read()) == "6 error clone_failed");
  CHECK(family.master.say("7 clone " + ticket) == "7 ok 0");
}

TEST_CASE("the giver goes: what it ordered goes on") {
  TestHost host;
  ServedFamily family(host);
  const std::string ticket = family.ticket(1);
  Guest giver = host.guest("ask");
  giver.write("1 clone_of 0 " + ticket + "\n");
  const std::string number = std::to_string(order_in(family.listener.read()).number);
  giver.hang_up();
  CHECK(family.control.say("1 now") == "1 ok 0");
  CHECK(family.listener.say("2 clone " + ticket) == "2 ok 0");
  CHECK(family.listener.say("3 carried_out " + number) == "3 ok");
  CHECK(family.control.list("2 domains").size() == 3);
}

TEST_CASE("ask pid= speaks for the domain of that process") {
  TestHost host;
  ServedFamily family(host);
  Guest asking = host.guest("ask pid=" + std::to_string(getpid()));
  CHECK(word_of(asking.greeting, 2) == family.id());
  Guest nobody = host.guest("ask pid=1");
  CHECK(error_of(nobody.greeting) == "gridcentric/1 error not_in_domain");
}
