// See reader.h.
#include "reader.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <system_error>

#include <cerrno>

namespace keelson {

namespace {
// Read per turn: enough to take a burst at once, little enough not to hold up the main thread for long.
constexpr size_t kTurnBytes = 512 * 1024;
}  // namespace

// What one turn read, on its way to the listener.
class Reader::Delivery : public Completion {
 public:
  Delivery(Reader& reader, std::shared_ptr<Subscription> subscription, Bytes bytes, bool complete)
      : reader_(reader), subscription_(std::move(subscription)), bytes_(std::move(bytes)), complete_(complete) {}

  void settle(Napi::Env env) override {
    if (subscription_->channel->closed) return;
    try {
      subscription_->listener.Call({Napi::Buffer<uint8_t>::Copy(env, bytes_.data(), bytes_.size()),
                                    Napi::Boolean::New(env, !complete_)});
    } catch (const Napi::Error& error) {
      napi_fatal_exception(env, error.Value());  // as an exception in any other event listener
    }
    if (!subscription_->channel->closed) reader_.arm(*subscription_, EPOLL_CTL_MOD);
  }

 private:
  Reader& reader_;
  std::shared_ptr<Subscription> subscription_;
  Bytes bytes_;
  bool complete_;
};

Reader::Reader(Runtime& runtime) : runtime_(runtime) {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) throw SyscallError{errno, "epoll_create1"};
  stop_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (stop_ < 0) {
    int number = errno;
    close(epoll_);
    throw SyscallError{number, "eventfd"};
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, stop_, &event);
  try {
    thread_ = startThread([this] { threadMain(); });
  } catch (const std::system_error& error) {
    close(epoll_);
    close(stop_);
    throw SyscallError{error.code().value(), "pthread_create"};
  }
}

Reader::~Reader() { stop(); }

void Reader::stop() {
  if (thread_.joinable()) {
    uint64_t one = 1;
    while (write(stop_, &one, sizeof one) < 0 && errno == EINTR) {
    }
    thread_.join();
    close(epoll_);
    close(stop_);
    epoll_ = stop_ = -1;  // remove() may still come, from sockets that are collected later
  }
  subscriptions_.clear();
}

void Reader::add(std::shared_ptr<Subscription> subscription) {
  subscription->id = nextId_++;
  {
    std::lock_guard lock(mutex_);
    subscriptions_[subscription->id] = subscription;
  }
  arm(*subscription, EPOLL_CTL_ADD);
}

void Reader::remove(const Subscription& subscription) {
  epoll_ctl(epoll_, EPOLL_CTL_DEL, subscription.channel->fd, nullptr);
  std::lock_guard lock(mutex_);
  subscriptions_.erase(subscription.id);
}

// The descriptor is open here: the subscription holds the channel, and the channel closes only in its destructor.
void Reader::arm(const Subscription& subscription, int operation) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.u64 = subscription.id;
  epoll_ctl(epoll_, operation, subscription.channel->fd, &event);
}

void Reader::threadMain() {
  epoll_event events[16];
  for (;;) {
    int count = epoll_wait(epoll_, events, 16, -1);
    if (count < 0 && errno != EINTR) return;
    for (int index = 0; index < count; index++) {
      if (events[index].data.u64 == 0) return;
      std::shared_ptr<Subscription> subscription;
      {
        std::lock_guard lock(mutex_);
        auto found = subscriptions_.find(events[index].data.u64);
        if (found == subscriptions_.end()) continue;
        subscription = found->second;
      }
      Bytes bytes;
      bool complete = receiveNotifications(*subscription->channel, bytes, kTurnBytes);
      // The last reference to a subscription must go on the main thread (it holds a JavaScript one): hence the move.
      runtime_.post(std::make_unique<Delivery>(*this, std::move(subscription), std::move(bytes), complete));
    }
  }
}

}  // namespace keelson
