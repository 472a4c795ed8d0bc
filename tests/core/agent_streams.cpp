// The agent's streams, on pipes of this process: testing what the agent does with them needs no VM.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "core/hypervisors/qemu/agent/streams.hpp"

using namespace gridcentric::agent;

TEST_CASE("draining takes what programs have written by then, even while some go on writing") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const auto room = static_cast<std::size_t>(fcntl(ends[1], F_GETPIPE_SZ));
  std::string out;
  Streams streams(out);
  streams.add_program(1, -1, ends[0], -1);
  REQUIRE(write(ends[1], std::string(room, 'x').data(), room) == static_cast<ssize_t>(room));
  std::atomic<bool> enough = false;
  std::vector<std::thread> programs;
  for (int i = 0; i < 4; i++)
    programs.emplace_back([&] {
      const std::string piece(4096, 'x');
      while (!enough && write(ends[1], piece.data(), piece.size()) > 0) continue;
    });
  std::size_t most = 0;
  for (int round = 0; round < 500; round++) {
    out.clear();
    streams.drain();
    most = std::max(most, out.size());
  }
  const std::size_t headers = room / max_payload * header_size + header_size;
  CHECK(most >= room);
  CHECK(most <= room + headers);
  enough = true;
  while (read(ends[0], out.data(), out.size()) > 0) continue;  // they may be waiting for space
  for (std::thread &program : programs) program.join();
  for (const int end : ends) close(end);
}
