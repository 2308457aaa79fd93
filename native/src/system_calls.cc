// See system_calls.h. Flags, paths and fallbacks are the caller's business (src/kernel).
#include "system_calls.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <functional>

#include "netlink.h"

namespace keelson {

namespace {

// A call whose only result is that it worked. The function holds copies of its arguments, nothing of JavaScript's.
class CallTask : public Task {
 public:
  CallTask(Napi::Env env, std::function<void()> call) : Task(env), call_(std::move(call)) {}

 protected:
  void work() override { call_(); }
  Napi::Value result(Napi::Env env) override { return env.Undefined(); }

 private:
  std::function<void()> call_;
};

// A path or option: a NUL inside would silently cut it.
std::string text(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsString()) throw Napi::TypeError::New(info.Env(), "expected a string");
  std::string value = info[index].As<Napi::String>().Utf8Value();
  if (value.find('\0') != std::string::npos) throw Napi::TypeError::New(info.Env(), "a NUL byte in a string");
  return value;
}

std::optional<std::string> optionalText(const Napi::CallbackInfo& info, size_t index) {
  if (info[index].IsUndefined()) return std::nullopt;
  return text(info, index);
}

int64_t integer(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsNumber()) throw Napi::TypeError::New(info.Env(), "expected a number");
  return info[index].As<Napi::Number>().Int64Value();
}

Napi::Value onPool(const Napi::CallbackInfo& info, std::function<void()> call) {
  return Runtime::of(info.Env())->submit(std::make_unique<CallTask>(info.Env(), std::move(call)));
}

const char* pointer(const std::optional<std::string>& value) { return value ? value->c_str() : nullptr; }

// struct mount_attr and constants of linux/mount.h, which clashes with glibc's sys/mount.h; the numbers of these calls
// are the same on every architecture.
struct MountAttributes {
  uint64_t set, clear, propagation, usernsFd;
};
constexpr long kOpenTree = 428, kMoveMount = 429, kMountSetattr = 442;
constexpr unsigned kOpenTreeClone = 1, kRecursive = 0x8000, kMoveFromEmptyPath = 4;
constexpr unsigned kEmptyPath = 0x1000;  // AT_EMPTY_PATH

// Copies the mount at `source` to `target` with `attributes` set before anyone can see it.
void bindTree(const std::string& source, const std::string& target, bool recursive, uint64_t attributes) {
  unsigned depth = recursive ? kRecursive : 0;
  int tree = static_cast<int>(syscall(kOpenTree, AT_FDCWD, source.c_str(), kOpenTreeClone | O_CLOEXEC | depth));
  if (tree < 0) throw SyscallError{errno, "open_tree"};
  const char* failed = nullptr;
  MountAttributes change{attributes, 0, 0, 0};
  if (attributes != 0 && syscall(kMountSetattr, tree, "", kEmptyPath | depth, &change, sizeof change) != 0)
    failed = "mount_setattr";
  else if (syscall(kMoveMount, tree, "", AT_FDCWD, target.c_str(), kMoveFromEmptyPath) != 0)
    failed = "move_mount";
  int number = errno;
  close(tree);  // a copy that was not moved goes with it
  if (failed != nullptr) throw SyscallError{number, failed};
}

}  // namespace

// mount(source | undefined, target, type | undefined, flags, data | undefined): Promise<void>
// Safe because: plain mount(2) on copies of the strings, on a pool thread (a mount may block on I/O); pool threads are
// in the process's own namespaces and never leave them.
Napi::Value mountFilesystem(const Napi::CallbackInfo& info) {
  return onPool(info, [source = optionalText(info, 0), target = text(info, 1), type = optionalText(info, 2),
                       flags = static_cast<unsigned long>(integer(info, 3)), data = optionalText(info, 4)] {
    if (mount(pointer(source), target.c_str(), pointer(type), flags, pointer(data)) != 0)
      throw SyscallError{errno, "mount"};
  });
}

// umount(target, flags): Promise<void>
// Safe because: as mount; the caller gives UMOUNT_NOFOLLOW, so that a symlink planted by a pod leads nowhere.
Napi::Value unmountFilesystem(const Napi::CallbackInfo& info) {
  return onPool(info, [target = text(info, 0), flags = static_cast<int>(integer(info, 1))] {
    if (umount2(target.c_str(), flags) != 0) throw SyscallError{errno, "umount2"};
  });
}

// bindMount(source, target, recursive, attributes): Promise<void>   (Linux 5.2; with attributes 5.12)
// Safe because: as mount. The mount appears in one step, attributes included, so a failure leaves nothing behind, and
// move_mount does not follow a symlink at `target`.
Napi::Value bindMount(const Napi::CallbackInfo& info) {
  return onPool(info, [source = text(info, 0), target = text(info, 1), recursive = info[2].ToBoolean().Value(),
                       attributes = static_cast<uint64_t>(integer(info, 3))] {
    bindTree(source, target, recursive, attributes);
  });
}

// writeInNetns(netnsPath, file, value): Promise<void>
// Safe because: setns happens on a thread that ends right after; /proc/sys/net shows the namespace of the thread that
// opens it. One write(2), because sysctl values are taken per call.
Napi::Value writeInNetns(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto call = [netns = text(info, 0), file = text(info, 1), value = text(info, 2)] {
    enterNetns(netns);
    int fd = open(file.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) throw SyscallError{errno, "open"};
    ssize_t written = write(fd, value.data(), value.size());
    int number = written < 0 ? errno : EIO;
    close(fd);
    if (written != static_cast<ssize_t>(value.size())) throw SyscallError{number, "write"};
  };
  return Runtime::of(env)->submitAlone(std::make_unique<CallTask>(env, std::move(call)));
}

// sdNotify(socketPath, state): void   (a leading @ means an abstract address, sd_notify(3))
// Safe on the main thread because: one datagram, never waiting (MSG_DONTWAIT); the socket is closed before returning.
Napi::Value sdNotify(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = text(info, 0), state = text(info, 1);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) throw toJs(env, {EINVAL, "sendto"});
  memcpy(address.sun_path, path.data(), path.size());
  bool abstract = path[0] == '@';
  if (abstract) address.sun_path[0] = '\0';
  // An abstract name is exactly as long as given; a file name ends with its NUL.
  socklen_t length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw toJs(env, {errno, "socket"});
  ssize_t sent = sendto(fd, state.data(), state.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                        reinterpret_cast<sockaddr*>(&address), length);
  int number = errno;
  close(fd);
  if (sent < 0) throw toJs(env, {number, "sendto"});
  return env.Undefined();
}

}  // namespace keelson
