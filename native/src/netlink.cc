// See netlink.h. All functions here run on native threads, never on the main thread.
#include "netlink.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>

namespace keelson {

namespace {

// Larger than any datagram the kernel makes for a netlink socket (dump buffers are at most 32 KiB, replies a few KiB).
constexpr size_t kDatagramLimit = 256 * 1024;
// Datagrams are packed into chunks of about this size, so that a large dump is not one giant allocation.
constexpr size_t kChunkBytes = 1024 * 1024;
// An answer of the kernel to one message occupies at most about this much of the receive buffer.
constexpr size_t kAckBufferBytes = 2048;
// How long a closed channel may go unnoticed.
constexpr int kPollSliceMs = 100;

void setBuffer(int fd, int forceOption, int plainOption, size_t bytes) {
  int value = static_cast<int>(std::min<size_t>(bytes, INT_MAX / 2));
  // FORCE needs CAP_NET_ADMIN in the initial user namespace; the plain one is bounded by sysctl but always allowed.
  if (setsockopt(fd, SOL_SOCKET, forceOption, &value, sizeof value) != 0)
    setsockopt(fd, SOL_SOCKET, plainOption, &value, sizeof value);
}

// The receiving thread's own scratch space: one allocation per thread.
uint8_t* scratch() {
  static thread_local std::vector<uint8_t> buffer(kDatagramLimit);
  return buffer.data();
}

// One datagram from the kernel, or -1 when none waits. Datagrams of other processes are dropped: anyone may send us one.
ssize_t receiveOne(int fd, uint8_t* buffer) {
  for (;;) {
    sockaddr_nl from{};
    iovec part{buffer, kDatagramLimit};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    ssize_t size = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC);
    if (size < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return -1;
      throw SyscallError{errno, "recvmsg"};
    }
    if (from.nl_pid != 0) continue;
    if (static_cast<size_t>(size) > kDatagramLimit) throw SyscallError{EMSGSIZE, "recvmsg"};
    return size;
  }
}

void append(std::vector<Bytes>& chunks, const uint8_t* data, size_t size) {
  if (chunks.empty() || chunks.back().size() + size > kChunkBytes) chunks.emplace_back();
  Bytes& chunk = chunks.back();
  chunk.insert(chunk.end(), data, data + size);
  chunk.resize(NLMSG_ALIGN(chunk.size()));  // so that the next datagram's header is where NLMSG_NEXT looks
}

// What the batch asks for, from its headers.
struct Expectation {
  uint32_t first = UINT32_MAX, last = 0;  // sequence numbers of the batch, inclusive
  std::vector<uint32_t> acks;             // sorted: those that still lack their answer

  Expectation(const uint8_t* batch, size_t length) {
    size_t offset = 0;
    while (offset < length) {
      nlmsghdr header;
      if (length - offset < sizeof header) throw SyscallError{EINVAL, "sendmsg"};
      memcpy(&header, batch + offset, sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > length - offset) throw SyscallError{EINVAL, "sendmsg"};
      first = std::min(first, header.nlmsg_seq);
      last = std::max(last, header.nlmsg_seq);
      if (header.nlmsg_flags & NLM_F_ACK) acks.push_back(header.nlmsg_seq);
      offset += NLMSG_ALIGN(header.nlmsg_len);
    }
    if (length == 0) throw SyscallError{EINVAL, "sendmsg"};
    std::sort(acks.begin(), acks.end());
  }

  bool covers(uint32_t sequence) const { return sequence >= first && sequence <= last; }

  bool answered(uint32_t sequence) {
    auto found = std::lower_bound(acks.begin(), acks.end(), sequence);
    if (found == acks.end() || *found != sequence) return false;
    acks.erase(found);
    return true;
  }
};

void send(Channel& channel, const uint8_t* batch, size_t length) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  while (sendto(channel.fd, batch, length, MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel) < 0) {
    if (errno != EINTR) throw SyscallError{errno, "sendmsg"};
  }
}

// Drops what a transaction that was given up left behind, and the pending error with it.
void clearLeftovers(Channel& channel) {
  while (channel.dirty) {
    try {
      if (receiveOne(channel.fd, scratch()) < 0) channel.dirty = false;
    } catch (const SyscallError& failure) {
      if (failure.number != ENOBUFS && failure.number != EMSGSIZE) throw;
    }
  }
}

}  // namespace

Channel::~Channel() { close(fd); }

int openNetlinkSocket(int protocol, int receiveBufferBytes) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) throw SyscallError{errno, "socket"};
  int on = 1;
  // Older kernels lack some of these; each only improves what we get (texts, short acks, filtered dumps).
  setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  setBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, static_cast<size_t>(receiveBufferBytes));
  sockaddr_nl local{};
  local.nl_family = AF_NETLINK;
  if (bind(fd, reinterpret_cast<sockaddr*>(&local), sizeof local) != 0) {
    int number = errno;
    close(fd);
    throw SyscallError{number, "bind"};
  }
  return fd;
}

void enterNetns(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) throw SyscallError{errno, "open"};
  int status = setns(fd, CLONE_NEWNET);
  int number = errno;
  close(fd);
  if (status != 0) throw SyscallError{number, "setns"};
}

// Answers to all but dumps are queued by the kernel inside sendmsg, so the queue already holds them when it returns;
// poll is for dumps and for surprises. A message in error is answered even when it asked for no ACK (nf_tables), and
// then the ACK of a later one may not come: an empty queue ends that too.
std::vector<Bytes> transact(Channel& channel, const uint8_t* batch, size_t length, bool dump, int timeoutMs) {
  if (channel.closed) throw SyscallError{ECANCELED, "sendmsg"};
  Expectation expected(batch, length);
  clearLeftovers(channel);
  // sk_sndbuf is compared with the message's length plus overhead; the kernel doubles what it is given.
  if (length > 64 * 1024) setBuffer(channel.fd, SO_SNDBUFFORCE, SO_SNDBUF, length + 4096);
  if (expected.acks.size() > 256)
    setBuffer(channel.fd, SO_RCVBUFFORCE, SO_RCVBUF, expected.acks.size() * kAckBufferBytes);

  std::vector<Bytes> chunks;
  auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeoutMs);
  bool done = false, otherError = false;
  channel.dirty = true;  // until the last answer is in
  send(channel, batch, length);
  for (;;) {
    uint8_t* buffer = scratch();
    ssize_t size = receiveOne(channel.fd, buffer);
    if (size < 0) {
      if (done || otherError || (!dump && expected.acks.empty())) break;
      if (channel.closed) throw SyscallError{ECANCELED, "recvmsg"};
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0) throw SyscallError{ETIMEDOUT, "recvmsg"};
      pollfd waiting{channel.fd, POLLIN, 0};
      poll(&waiting, 1, static_cast<int>(std::min<long>(left.count() + 1, kPollSliceMs)));
      continue;
    }
    bool ours = false;
    for (size_t offset = 0; offset + sizeof(nlmsghdr) <= static_cast<size_t>(size);) {
      nlmsghdr header;
      memcpy(&header, buffer + offset, sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > size - offset) break;
      if (expected.covers(header.nlmsg_seq)) {
        ours = true;
        if (header.nlmsg_type == NLMSG_DONE) done = true;
        if (header.nlmsg_type == NLMSG_ERROR) {
          if (dump) done = true;
          else if (!expected.answered(header.nlmsg_seq)) otherError = true;
        }
      }
      offset += NLMSG_ALIGN(header.nlmsg_len);
    }
    if (ours) append(chunks, buffer, static_cast<size_t>(size));
  }
  channel.dirty = false;
  return chunks;
}

bool receiveNotifications(const Channel& channel, Bytes& into, size_t limit) {
  uint8_t* buffer = scratch();
  bool complete = true;
  while (into.size() < limit) {
    try {
      ssize_t size = receiveOne(channel.fd, buffer);
      if (size < 0) break;
      into.insert(into.end(), buffer, buffer + size);
      into.resize(NLMSG_ALIGN(into.size()));
    } catch (const SyscallError& failure) {
      // Anything lost is an overrun for the listener, who then lists again.
      complete = false;
      if (failure.number != ENOBUFS && failure.number != EMSGSIZE) break;
    }
  }
  return complete;
}

}  // namespace keelson
