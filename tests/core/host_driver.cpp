// What the host tells a driver besides orders from guests, recorded by a driver made for it.
#include <gridcentric/gc-guest.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>

#include "tests/core/host_guest.hpp"

namespace {

using gridcentric::DomainKey;
using gridcentric::EndKind;

// Thread-safe: the host writes, the test reads.
class Diary {
 public:
  void write(const std::string &entry) {
    const std::lock_guard lock(mutex_);
    entries_.push_back(entry);
    changed_.notify_all();
  }
  // The entries since the last call, once there are that many.
  std::vector<std::string> next(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return entries_.size() >= count; });
    return std::exchange(entries_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> entries_;
};

std::string entry(const char *call, DomainKey domain, std::size_t clones) {
  return std::string(call) + " " + std::to_string(domain) + " " + std::to_string(clones);
}

// Its domains are only names. Making 3 clones fails.
class Recorder final : public gridcentric::Hypervisor {
 public:
  Recorder(gridcentric::Loop &loop, Diary &diary) : loop_(loop), diary_(diary) {}

  std::string_view name() const override { return "recorder"; }
  gridcentric::Capabilities capabilities() const override { return {}; }
  void set_listener(Listener *listener) override { listener_ = listener; }
  std::string adopt(DomainKey domain, const gridcentric::Peer &, std::string *) override {
    living_.insert(domain);
    return "10.0.0.1";
  }
  void clone(gridcentric::CloneRequest request, std::function<void(gridcentric::CloneResult)> done) override {
    diary_.write(entry("clone", request.parent, request.clones.size()));
    const bool fails = request.clones.size() == 3;
    if (!fails) living_.insert(request.clones.begin(), request.clones.end());
    loop_.post([done = std::move(done), fails] {
      done(gridcentric::CloneResult{!fails, fails ? GC_E_CLONE_FAILED : 0, fails ? "told to fail" : ""});
    });
  }
  void cancel_clone(DomainKey) override {}
  void expect(DomainKey domain, int clones) override {
    diary_.write(entry("expect", domain, static_cast<std::size_t>(clones)));
  }
  void end(DomainKey domain) override {
    if (living_.erase(domain) == 0) return;
    loop_.post([this, domain] { listener_->ended(domain, EndKind::killed, 9); });
  }
  void joined(DomainKey domain) override { end(domain); }
  std::string address_of(DomainKey) const override { return "10.0.0.1"; }
  int pid_of(DomainKey) const override { return -1; }
  DomainKey domain_of(int) const override { return 0; }

 private:
  gridcentric::Loop &loop_;
  Diary &diary_;
  Listener *listener_ = nullptr;
  std::set<DomainKey> living_;
};

using Entries = std::vector<std::string>;

}  // namespace

TEST_CASE("a driver is told how many clones the tickets of a domain are for") {
  Diary diary;
  TestHost host(true, 8, "",
                [&](gridcentric::Loop &loop) { return std::make_unique<Recorder>(loop, diary); });
  Guest master = host.guest("attach");
  const auto ticket = [&](int vms) {
    const std::string number = std::to_string(vms);
    return word_of(master.say("1 request_ticket " + number + " " + number + " 1 0"), 2);
  };

  // Granted, then released.
  const std::string two = ticket(2);
  CHECK(diary.next(1) == Entries{"expect 1 2"});
  const std::string three = ticket(3);
  CHECK(diary.next(1) == Entries{"expect 1 5"});
  CHECK(master.say("2 release_ticket " + two) == "2 ok");
  CHECK(diary.next(1) == Entries{"expect 1 3"});

  // A waiting ticket does not count until it is granted; if it expires there is nothing to tell.
  CHECK(error_of(master.say("3 request_ticket 8 8 1 1")) == "3 error timed_out");
  master.write("4 request_ticket 6 6 1 -1\n");
  CHECK(master.say("5 release_ticket " + three) == "5 ok");
  const std::string six = word_of(master.read(), 2);
  CHECK(diary.next(1) == Entries{"expect 1 6"});

  // Used: the clone comes first.
  const std::string one = ticket(1);
  CHECK(diary.next(1) == Entries{"expect 1 7"});
  CHECK(master.say("6 clone " + one) == "6 ok 0");
  CHECK(diary.next(2) == Entries{"clone 1 1", "expect 1 6"});
  CHECK(master.say("7 release_ticket " + six) == "7 ok");
  CHECK(diary.next(1) == Entries{"expect 1 0"});

  // A failed clone gives the ticket back, which ends with its owner.
  const std::string failing = ticket(3);
  CHECK(error_of(master.say("8 clone " + failing)) == "8 error clone_failed");
  CHECK(diary.next(4) == Entries{"expect 1 3", "clone 1 3", "expect 1 0", "expect 1 3"});
  CHECK(host.guest("observe").say("1 kill_domain " + word_of(master.greeting, 2) + " 0") == "1 ok");
  CHECK(diary.next(1) == Entries{"expect 1 0"});
}

namespace {

// Has room for that many VMs, and answers once the host is back in its loop, like a driver that asks other computers.
class Counter final : public gridcentric::Hypervisor {
 public:
  Counter(gridcentric::Loop &loop, Diary &diary, std::int64_t room) : Counter(loop, diary, room, room) {}

  std::string_view name() const override { return "counter"; }
  gridcentric::Capabilities capabilities() const override { return {}; }
  void set_listener(Listener *listener) override { listener_ = listener; }
  std::string adopt(DomainKey, const gridcentric::Peer &, std::string *) override { return "10.0.0.1"; }
  void reserve(gridcentric::TicketRequest request,
               std::function<void(gridcentric::Reservation)> answer) override {
    diary_.write(entry("reserve", request.domain, static_cast<std::size_t>(request.most_vms)));
    loop_.post([this, request, answer = std::move(answer)] {
      if (request.least_vms > room_)
        return answer(gridcentric::Reservation::refused("there is room for " + std::to_string(room_)));
      if (request.least_vms > free_) return answer(gridcentric::Reservation::later("all of it is taken"));
      kept_[request.ticket] = std::min(request.most_vms, free_);
      free_ -= kept_[request.ticket];
      answer(gridcentric::Reservation::granted(kept_[request.ticket]));
    });
  }
  void release(const std::string &ticket) override {
    if (kept_.contains(ticket)) free_ += kept_.extract(ticket).mapped();
    diary_.write(entry("release", 0, static_cast<std::size_t>(free_)));
  }
  void clone(gridcentric::CloneRequest, std::function<void(gridcentric::CloneResult)> done) override {
    loop_.post([done = std::move(done)] { done({true, 0, ""}); });
  }
  void cancel_clone(DomainKey) override {}
  void end(DomainKey domain) override {
    loop_.post([this, domain] { listener_->ended(domain, EndKind::killed, 9); });
  }
  void joined(DomainKey domain) override { end(domain); }
  std::string address_of(DomainKey) const override { return "10.0.0.1"; }
  int pid_of(DomainKey) const override { return -1; }
  DomainKey domain_of(int) const override { return 0; }

 private:
  Counter(gridcentric::Loop &loop, Diary &diary, std::int64_t room, std::int64_t free)
      : loop_(loop), diary_(diary), room_(room), free_(free) {}

  gridcentric::Loop &loop_;
  Diary &diary_;
  Listener *listener_ = nullptr;
  std::int64_t room_, free_;
  std::map<std::string, std::int64_t> kept_;
};

}  // namespace

TEST_CASE("a driver that counts grants fewer, refuses or lets requests wait, and the line stays in order") {
  Diary diary;
  TestHost host(true, 16, "",
                [&](gridcentric::Loop &loop) { return std::make_unique<Counter>(loop, diary, 4); });
  Guest master = host.guest("attach");
  CHECK(master.say("1 request_ticket 5 5 1 -1") == "1 error not_supported there is room for 4");
  CHECK(diary.next(1) == Entries{"reserve 1 5"});
  const std::string all = word_of(master.say("1 request_ticket 16 2 2 -1"), 2);
  CHECK(master.say("2 ticket_info " + all) == "2 ok " + all + " reserved 8 4 2");
  CHECK(error_of(master.say("3 request_ticket 1 1 1 0")) == "3 error timed_out");
  CHECK(diary.next(3) == Entries{"reserve 1 8", "reserve 1 1", "release 0 0"});

  // The head waits for the driver although there are CPUs, and later requests wait for the head.
  master.write("4 request_ticket 2 2 1 -1\n5 request_ticket 1 1 1 -1\n");
  Guest observer = host.guest("control");
  CHECK(observer.say("1 await request_ticket 2") == "1 ok");
  CHECK(diary.next(1) == Entries{"reserve 1 2"});
  CHECK(master.say("6 clone " + all) == "6 ok 0");
  for (const char *clone : {"1", "2", "3"}) CHECK(master.say("7 kill " + std::string(clone)) == "7 ok");
  CHECK(master.say("8 kill 4") == "8 ok");
  CHECK(word_of(master.read(), 0) == "4");
  CHECK(word_of(master.read(), 0) == "5");
  CHECK(diary.next(3) == Entries{"release 0 4", "reserve 1 2", "reserve 1 1"});
}
