#include "core/host/listening_socket.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <gridcentric/host.hpp>

namespace gridcentric {
namespace {

constexpr int accepts_a_turn = 64;
constexpr std::time_t forming_s = 60;  // a folder without a socket may be one in the making
constexpr const char *socket_name = "/host.sock";
constexpr const char *answer_without_descriptor =
    "gridcentric/1 error host_unreachable the host has no descriptor left for another connection (ulimit "
    "-n): end "
    "clones, or start the host with a higher limit\n";

std::string runtime_folder() {
  const char *folder = std::getenv("XDG_RUNTIME_DIR");
  return folder && folder[0] == '/' ? folder : "";
}

std::string user() { return std::to_string(geteuid()); }

bool fill(const std::string &path, sockaddr_un *address, std::string *error) {
  *address = {};
  address->sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address->sun_path) {
    *error = "the path of the socket has " + std::to_string(path.size()) + " bytes, expected 1 to " +
             std::to_string(sizeof address->sun_path - 1) + ": \"" + path + "\"";
    return false;
  }
  std::memcpy(address->sun_path, path.data(), path.size());
  return true;
}

// Does a process listen there? A socket appears under its name only when it is listened on (listen_at).
enum class Found { alive, dead, nothing };
Found probe(const std::string &path) {
  sockaddr_un address;
  std::string ignored;
  if (!fill(path, &address, &ignored)) return Found::nothing;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return Found::alive;  // not known: touch nothing
  const int result = connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address);
  const int reason = errno;
  close(fd);
  if (result < 0 && reason == ECONNREFUSED) return Found::dead;
  if (result < 0 && reason == ENOENT) return Found::nothing;
  return Found::alive;
}

// Folders that private hosts of this user left when they were killed.
void remove_dead_folders(const std::string &parent, const std::string &prefix,
                         std::vector<std::string> &removed) {
  DIR *folder = opendir(parent.c_str());
  if (!folder) return;
  while (const dirent *entry = readdir(folder)) {
    if (std::strncmp(entry->d_name, prefix.c_str(), prefix.size()) != 0) continue;
    const std::string path = parent + "/" + entry->d_name;
    struct stat status;
    if (lstat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != geteuid()) continue;
    const Found found = probe(path + socket_name);
    if (found == Found::alive ||
        (found == Found::nothing && std::time(nullptr) - status.st_mtime < forming_s))
      continue;
    unlink((path + socket_name).c_str());
    unlink((path + socket_name + ".new").c_str());
    if (rmdir(path.c_str()) == 0) removed.push_back(path);
  }
  closedir(folder);
}

std::vector<std::string> private_parents() {
  const std::string runtime = runtime_folder();
  return runtime.empty() ? std::vector<std::string>{"/tmp"} : std::vector<std::string>{runtime, "/tmp"};
}

std::string private_prefix() { return "gridcentric-" + user() + "-"; }

}  // namespace

std::vector<std::string> remove_dead_hosts() {
  std::vector<std::string> removed;
  for (const std::string &parent : private_parents()) remove_dead_folders(parent, private_prefix(), removed);
  return removed;
}

std::string default_socket_path() {
  const std::string runtime = runtime_folder();
  return (runtime.empty() ? "/tmp/gridcentric-" + user() : runtime + "/gridcentric") + socket_name;
}

namespace host {

ListeningSocket::~ListeningSocket() {
  if (spare_ >= 0) close(spare_);
  if (fd_ < 0) return;
  loop_.unwatch(fd_);
  unlink(path_.c_str());
  close(fd_);
  if (!folder_.empty()) rmdir(folder_.c_str());
}

bool ListeningSocket::open_at(const std::string &path, std::string *error) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos || slash == 0 ? "" : path.substr(0, slash);
  if (!folder.empty() && mkdir(folder.c_str(), 0700) == 0) folder_ = folder;
  struct stat status;
  // Somebody else's folder of the expected name would let them put their socket in our place.
  if (path == default_socket_path() && (lstat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) ||
                                        status.st_uid != geteuid() || (status.st_mode & 022))) {
    *error = "\"" + folder +
             "\" must be a folder that only this user can write to: name another place with --socket";
    return false;
  }
  switch (probe(path)) {
    case Found::alive:
      *error =
          "a host listens on \"" + path + "\" already: use that one, or name another place with --socket";
      return false;
    case Found::dead:
    case Found::nothing:  // a link that leads nowhere is there all the same
      if (lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode)) {
        *error = "\"" + path + "\" exists and is not a socket: name another place with --socket";
        return false;
      }
      break;  // replaced by rename()
  }
  return listen_at(path, error);
}

bool ListeningSocket::open_private(std::string *error) {
  remove_dead_hosts();
  for (const std::string &parent : private_parents()) {
    std::string folder = parent + "/" + private_prefix() + "XXXXXX";
    sockaddr_un address;
    if (!fill(folder + socket_name + ".new", &address, error)) continue;
    if (!mkdtemp(folder.data())) {
      *error = "cannot make a folder like \"" + folder + "\": " + std::strerror(errno);
      continue;
    }
    folder_ = folder;
    return listen_at(folder + socket_name, error);
  }
  return false;
}

bool ListeningSocket::listen_at(const std::string &path, std::string *error) {
  const std::string forming = path + ".new";
  sockaddr_un address;
  if (!fill(forming, &address, error)) return false;
  struct stat status;
  if (lstat(forming.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode)) {
      *error = "\"" + forming +
               "\" exists and is not a socket, and the host's own is made under that name: move it away, "
               "or name another place with --socket";
      return false;
    }
    unlink(forming.c_str());  // of a host that was killed
  }
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  // The file is born with the mode of the socket, less the umask.
  const bool bound = fd_ >= 0 && fchmod(fd_, 0600) == 0 &&
                     bind(fd_, reinterpret_cast<const sockaddr *>(&address), sizeof address) == 0;
  // It takes its name when it is listened on, so that nobody takes it for a dead host's before.
  if (!bound || listen(fd_, SOMAXCONN) != 0 || rename(forming.c_str(), path.c_str()) != 0) {
    *error = "cannot listen on \"" + path + "\": " + std::strerror(errno);
    unlink(forming.c_str());
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
    if (!folder_.empty()) rmdir(folder_.c_str());
    return false;
  }
  path_ = path;
  spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  loop_.watch(fd_, [this] { accept_some(); });
  return true;
}

void ListeningSocket::accept_some() {
  for (int i = 0; i < accepts_a_turn; ++i) {
    int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE) && spare_ >= 0) {
      // Without a descriptor the connection could be neither served nor refused, and the loop would spin.
      close(spare_);
      fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd >= 0) {
        send(fd, answer_without_descriptor, std::strlen(answer_without_descriptor),
             MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
      }
      spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
      continue;
    }
    if (fd < 0) return;
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 ||
        (credentials.uid != geteuid() && credentials.uid != 0)) {
      close(fd);
      continue;
    }
    accepted_(fd, {credentials.pid > 0 ? credentials.pid : -1, credentials.uid, credentials.gid});
  }
}

}  // namespace host
}  // namespace gridcentric
