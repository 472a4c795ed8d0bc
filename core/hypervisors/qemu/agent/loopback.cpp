#include "core/hypervisors/qemu/agent/loopback.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace gridcentric::agent {
namespace {

constexpr std::uint8_t result = BPF_REG_0, context = BPF_REG_1, value = BPF_REG_2;
constexpr std::uint8_t load = BPF_LDX | BPF_MEM | BPF_W, store = BPF_STX | BPF_MEM | BPF_W;
constexpr std::uint8_t move = BPF_ALU64 | BPF_MOV | BPF_K, unless_equal = BPF_JMP | BPF_JNE | BPF_K;

bpf_insn instruction(std::uint8_t code, std::uint8_t to, std::uint8_t from, std::size_t offset,
                     std::int32_t number) {
  bpf_insn made{};
  made.code = code;
  made.dst_reg = to & 0xf;
  made.src_reg = from & 0xf;
  made.off = static_cast<std::int16_t>(offset);
  made.imm = number;
  return made;
}

// struct bpf_sock_addr has the arguments of bind(2): if (protocol == TCP && user_ip4 == 127.0.0.1) user_ip4 = 0; proceed.
int load_program() {
  const auto loopback = static_cast<std::int32_t>(htonl(INADDR_LOOPBACK));
  const bpf_insn program[] = {
      instruction(load, value, context, offsetof(bpf_sock_addr, protocol), 0),
      instruction(unless_equal, value, 0, 4, IPPROTO_TCP),
      instruction(load, value, context, offsetof(bpf_sock_addr, user_ip4), 0),
      instruction(unless_equal, value, 0, 2, loopback),
      instruction(move, value, 0, 0, INADDR_ANY),
      instruction(store, context, value, offsetof(bpf_sock_addr, user_ip4), 0),
      instruction(move, result, 0, 0, 1),
      instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
  };
  bpf_attr wanted{};
  wanted.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
  wanted.expected_attach_type = BPF_CGROUP_INET4_BIND;
  wanted.insns = reinterpret_cast<std::uintptr_t>(program);
  wanted.insn_cnt = sizeof program / sizeof *program;
  wanted.license = reinterpret_cast<std::uintptr_t>("");
  return static_cast<int>(syscall(SYS_bpf, BPF_PROG_LOAD, &wanted, sizeof wanted));
}

}  // namespace

std::string open_loopback(const char *group) {
  const int folder = open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int program = load_program();
  bpf_attr wanted{};
  wanted.target_fd = static_cast<std::uint32_t>(folder);
  wanted.attach_bpf_fd = static_cast<std::uint32_t>(program);
  wanted.attach_type = BPF_CGROUP_INET4_BIND;
  std::string trouble;
  if (folder < 0 || program < 0 || syscall(SYS_bpf, BPF_PROG_ATTACH, &wanted, sizeof wanted) != 0)
    trouble = std::string("the kernel does not accept a BPF program for bind(2): ") + std::strerror(errno);
  for (const int fd : {folder, program}) {
    if (fd >= 0) close(fd);  // the control group keeps the program
  }
  return trouble;
}

}  // namespace gridcentric::agent
