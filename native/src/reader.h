// The one thread that waits for notifications of all subscribed sockets of an environment.
// (uv_poll would do it on the main thread, but its header is not among the npm packages we build against.)
//
// Each subscription is armed once (EPOLLONESHOT), read by the thread, delivered on the main thread and only then armed
// again. So a slow listener makes the kernel's buffer fill and overrun, which is reported, instead of our memory.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "netlink.h"

namespace keelson {

struct Subscription {
  uint64_t id = 0;
  std::shared_ptr<Channel> channel;
  Napi::FunctionReference listener;  // main thread only
};

class Reader {
 public:
  explicit Reader(Runtime& runtime);
  ~Reader();
  // All three: main thread.
  void add(std::shared_ptr<Subscription> subscription);
  void remove(const Subscription& subscription);
  void stop();

 private:
  class Delivery;
  void threadMain();
  void arm(const Subscription& subscription, int operation);

  Runtime& runtime_;
  int epoll_ = -1, stop_ = -1;
  uint64_t nextId_ = 1;  // 0 is the stop event
  std::mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<Subscription>> subscriptions_;
  std::thread thread_;
};

}  // namespace keelson
