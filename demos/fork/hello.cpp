// "hello, I am N" in C++: three clones say it, the master collects it. Other threads are cloned too: here one counts.
//   g++ -std=c++20 hello.cpp -lgridcentric -o hello && ./hello
#include <gridcentric/gc-guest.h>

#include <atomic>
#include <iostream>
#include <string>
#include <thread>

int main() {
  std::atomic<int> counted = 0;
  std::jthread counter([&](std::stop_token stop) {
    while (!stop.stop_requested()) counted++;
  });

  gc_uuid_t ticket;
  if (gc_request_ticket(3, 3, 1, 1000, &ticket)) return std::cerr << gc_error_text() << '\n', 1;
  int vmid = gc_clone(ticket);  // one program before this line, four after it
  if (vmid < 0) return std::cerr << gc_error_text() << '\n', 1;

  // The thread runs in every domain.
  for (int before = counted; counted == before;) std::this_thread::yield();

  if (vmid > 0) {
    std::string text = "hello, I am " + std::to_string(vmid);
    return gc_join(text.data(), text.size());  // does not return on success
  }
  gc_result_t *results;
  size_t count;
  if (gc_wait(ticket, 10000, &results, &count)) return std::cerr << gc_error_text() << '\n', 1;
  for (size_t i = 0; i < count; i++) {
    std::cout << std::string(reinterpret_cast<const char *>(results[i].report), results[i].report_size) << '\n';
  }
  std::cout << "hello, I am the master of " << count << '\n';
  gc_free(results);
}
