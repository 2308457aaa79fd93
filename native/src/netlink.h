// One netlink socket and one transaction on it: descriptors and system calls only, no JavaScript.
// Of the message formats it knows the 16-byte header, which is what tells that every answer has arrived.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime.h"

namespace keelson {

using Bytes = std::vector<uint8_t>;

// Owns the descriptor; shared by the JavaScript object and by the tasks that use it, closed with the last of them.
struct Channel {
  explicit Channel(int descriptor) : fd(descriptor) {}
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  const int fd;
  Lane lane;
  std::atomic<bool> closed{false};
  bool dirty = false;  // answers of a transaction given up may still arrive; only the lane's task touches it
};

// Opens, tunes and binds a netlink socket in the calling thread's network namespace. Throws SyscallError.
int openNetlinkSocket(int protocol, int receiveBufferBytes);

// Moves the calling thread, for the rest of its life, into the network namespace at `path`. Throws SyscallError.
void enterNetns(const std::string& path);

// Sends `batch` in one sendmsg and collects the answers as packed, aligned messages in chunks of whole datagrams.
// Ends when each message that carries NLM_F_ACK has its NLMSG_ERROR, or for a dump when NLMSG_DONE has come.
// Throws SyscallError: ETIMEDOUT after timeoutMs without an answer, ENOBUFS when the kernel dropped answers,
// ECANCELED when the channel was closed meanwhile, EINVAL for a batch that is not a chain of netlink messages.
std::vector<Bytes> transact(Channel& channel, const uint8_t* batch, size_t length, bool dump, int timeoutMs);

// Appends every datagram that waits on a subscribed socket, up to `limit` bytes. Returns false on ENOBUFS (overrun).
bool receiveNotifications(const Channel& channel, Bytes& into, size_t limit);

}  // namespace keelson
