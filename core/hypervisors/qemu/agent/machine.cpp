#include "core/hypervisors/qemu/agent/machine.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <utility>

#include "core/guest/machine_page.hpp"
#include "core/hypervisors/qemu/agent/programs.hpp"

namespace gridcentric::agent {
namespace {

[[noreturn]] void give_up(const char *what) {
  std::fprintf(stderr, "gc-agent: %s: %s\n", what, std::strerror(errno));
  sync();
  reboot(RB_POWER_OFF);
  _exit(1);
}

void mount_on(const char *source, const char *target, const char *type, unsigned long flags = 0,
              const char *data = "") {
  mkdir(target, 0755);
  if (mount(source, target, type, flags, data) != 0 && errno != EBUSY) give_up(target);
}

// Loads the modules of a list in its order: the image builder puts each after those that it depends on.
void load_modules(const char *list) {
  std::ifstream order(list);
  for (std::string name; std::getline(order, name);) {
    const int fd = open(("/modules/" + name).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) give_up(name.c_str());
    if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST) give_up(name.c_str());
    close(fd);
  }
}

void wait_for(const char *path) {
  for (int i = 0; i < 5000 && access(path, F_OK) != 0; i++) usleep(2000);
  if (access(path, F_OK) != 0) give_up(path);
}

// The host says on the kernel's command line whether there is a disk.
bool has_disk() {
  std::ifstream words("/proc/cmdline");
  for (std::string word; words >> word;)
    if (word == "gridcentric.disk") return true;
  return false;
}

// Changes to the image are written to the disk, on which the host has made an empty file system, or to memory.
void mount_changes() {
  constexpr const char *disk = "/dev/vdb";
  if (!has_disk()) return mount_on("tmpfs", "/changes", "tmpfs", 0, "mode=755,size=90%");
  load_modules("/modules/disk");
  wait_for(disk);
  mount_on(disk, "/changes", "ext4", MS_NOATIME,
           "noinit_itable");  // the disk does not outlive the VM, so inode tables need no zeroing
}

void write_file(const char *path, const std::string &text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
}

std::string unhex(const std::string &text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<char>(std::strtol(text.substr(i, 2).c_str(), nullptr, 16)));
  return bytes;
}

bool reseed(const std::string &seed) {
  struct {
    int entropy_count;
    int buf_size;
    char buf[512];
  } pool{};
  pool.buf_size = static_cast<int>(std::min(seed.size(), sizeof pool.buf));
  pool.entropy_count = pool.buf_size * 8;
  std::memcpy(pool.buf, seed.data(), static_cast<std::size_t>(pool.buf_size));
  const int fd = open("/dev/random", O_WRONLY | O_CLOEXEC);
  const bool ok = fd >= 0 && ioctl(fd, RNDADDENTROPY, &pool) == 0 && ioctl(fd, RNDRESEEDCRNG) == 0;
  if (fd >= 0) close(fd);
  return ok;
}

// Writes /etc/hosts, with this VM's line in place of its master's.
void write_hosts(const Identity &identity) {
  static const std::string local = "127.0.0.1 localhost";
  static std::string own;
  std::string text;
  {
    std::ifstream before("/etc/hosts");
    for (std::string line; std::getline(before, line);)
      if (line != own && line != local) text += line + "\n";
  }
  own = identity.network.ip == "-" ? "" : identity.network.ip + " " + identity.hostname;
  write_file("/etc/hosts", local + "\n" + own + "\n" + text);
}

// A clone has not booted but needs a new boot_id, for programs that tell boots apart (random(4), sd_id128_get_boot(3)).
std::string renew_boot_id() {
  static bool mounted = false;
  constexpr const char *shown = "/proc/sys/kernel/random/boot_id", *own = "/run/gridcentric/boot_id";
  std::string id;
  std::ifstream("/proc/sys/kernel/random/uuid") >> id;
  write_file(own, id + "\n");
  mounted = mounted || mount(own, shown, nullptr, MS_BIND, nullptr) == 0;
  return mounted ? "" : std::string("boot_id: ") + std::strerror(errno) + "; ";
}

guest::MachinePage *make_page() {
  const int fd = open(guest::machine_page_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0 || ftruncate(fd, sizeof(guest::MachinePage)) != 0) give_up(guest::machine_page_path);
  void *memory = mmap(nullptr, sizeof(guest::MachinePage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) give_up(guest::machine_page_path);
  return static_cast<guest::MachinePage *>(memory);
}

// The programs are frozen, or there are none yet: none can read meanwhile.
void write_page(const Identity &identity) {
  static guest::MachinePage *page = make_page();
  const bool other =
      page->family[0] != '\0' && (page->vmid != identity.vmid || page->family != identity.family);
  page->vmid = identity.vmid;
  page->parent = identity.parent;
  std::snprintf(page->family, sizeof page->family, "%s", identity.family.c_str());
  std::snprintf(page->ip, sizeof page->ip, "%s", identity.network.ip.c_str());
  std::snprintf(page->hypervisor, sizeof page->hypervisor, "qemu");
  if (!other) return;
  page->generation.fetch_add(1, std::memory_order_release);
  syscall(SYS_futex, &page->generation, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

void bring_up() {
  mount_on("devtmpfs", "/dev", "devtmpfs");
  const int console = open("/dev/console", O_RDWR);
  for (int fd = 0; console >= 0 && fd < 3; fd++) dup2(console, fd);
  if (console > 2) close(console);
  mount_on("proc", "/proc", "proc");
  mount_on("sysfs", "/sys", "sysfs");
  load_modules("/modules/order");
  for (const auto &[partition, folder] :
       {std::pair{"/dev/vda1", "/base"}, std::pair{"/dev/vda2", "/layer"}}) {
    wait_for(partition);
    mkdir(folder, 0755);
    if (mount(partition, folder, "erofs", MS_RDONLY, "") != 0) give_up(partition);
  }
  mount_changes();
  mkdir("/changes/upper", 0755);
  mkdir("/changes/work", 0755);
  mount_on("overlay", "/root", "overlay", 0,
           "lowerdir=/layer:/base,upperdir=/changes/upper,workdir=/changes/work");
  for (const char *name : {"/dev", "/proc", "/sys"}) {
    const std::string target = std::string("/root") + name;
    mkdir(target.c_str(), 0755);
    if (mount(name, target.c_str(), nullptr, MS_MOVE, nullptr) != 0) give_up(target.c_str());
  }
  if (chdir("/root") != 0 || mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || chroot(".") != 0 ||
      chdir("/") != 0)
    give_up("the new root");
  mount_on("devpts", "/dev/pts", "devpts");
  mount_on("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
  mount_on("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
  mount_on("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
  mkdir("/run/gridcentric", 0755);
  symlink("/proc/self/fd", "/dev/fd");
  symlink("fd/0", "/dev/stdin");
  symlink("fd/1", "/dev/stdout");
  symlink("fd/2", "/dev/stderr");
  loopback_up();
  if (const std::string trouble = make_group(); !trouble.empty()) give_up(trouble.c_str());
}

int open_port(const char *name) {
  for (;;) {
    DIR *folder = opendir("/sys/class/virtio-ports");
    for (dirent *entry = nullptr; folder != nullptr && (entry = readdir(folder)) != nullptr;) {
      std::string text;
      std::ifstream(std::string("/sys/class/virtio-ports/") + entry->d_name + "/name") >> text;
      if (text != name) continue;
      const int fd = open((std::string("/dev/") + entry->d_name).c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
      if (fd >= 0) {
        closedir(folder);
        return fd;
      }
    }
    if (folder != nullptr) closedir(folder);
    usleep(2000);
  }
}

std::string become(const Identity &identity) {
  static bool first = true;
  std::string missing;
  if (!reseed(unhex(identity.seed)))
    missing += std::string("kernel generator: ") + std::strerror(errno) + "; ";
  missing += renew_boot_id();  // after the generator has been reseeded
  const timespec now{identity.clock_ns / 1000000000, identity.clock_ns % 1000000000};
  if (clock_settime(CLOCK_REALTIME, &now) != 0)
    missing += std::string("clock: ") + std::strerror(errno) + "; ";
  sethostname(identity.hostname.c_str(), identity.hostname.size());
  write_file("/etc/hostname", identity.hostname + "\n");
  write_file("/etc/machine-id", identity.machine_id + "\n");
  unlink("/var/lib/systemd/random-seed");
  if (identity.network.ip != "-") missing += set_network(identity.network);
  write_hosts(identity);
  if (first && identity.network.names != "-") {
    unlink("/etc/resolv.conf");  // it may be a link to a file that no service of this VM writes
    write_file("/etc/resolv.conf", "nameserver " + identity.network.names + "\n");
  }
  first = false;
  write_page(identity);
  return missing;
}

}  // namespace gridcentric::agent
