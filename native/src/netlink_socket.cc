// See netlink_socket.h. Arguments are checked by src/kernel/addon.ts; what is checked here keeps memory safe.
#include "netlink_socket.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>

namespace keelson {

namespace {

class OpenTask : public Task {
 public:
  OpenTask(Napi::Env env, int protocol, std::optional<std::string> netns, int receiveBufferBytes)
      : Task(env), protocol_(protocol), netns_(std::move(netns)), receiveBufferBytes_(receiveBufferBytes) {}

 protected:
  void work() override {
    if (netns_) enterNetns(*netns_);
    channel_ = std::make_shared<Channel>(openNetlinkSocket(protocol_, receiveBufferBytes_));
  }
  Napi::Value result(Napi::Env env) override {
    return Runtime::of(env)->socketClass.New({Napi::External<std::shared_ptr<Channel>>::New(env, &channel_)});
  }

 private:
  int protocol_;
  std::optional<std::string> netns_;
  int receiveBufferBytes_;
  std::shared_ptr<Channel> channel_;
};

class TransactTask : public Task {
 public:
  TransactTask(Napi::Env env, std::shared_ptr<Channel> channel, Napi::Buffer<uint8_t> batch, bool dump, int timeoutMs)
      : Task(env),
        channel_(std::move(channel)),
        keep_(Napi::Persistent(batch)),
        data_(batch.Data()),
        length_(batch.Length()),
        dump_(dump),
        timeoutMs_(timeoutMs) {}

 protected:
  void work() override { chunks_ = keelson::transact(*channel_, data_, length_, dump_, timeoutMs_); }
  Napi::Value result(Napi::Env env) override {
    if (channel_->closed) throw SyscallError{ECANCELED, "recvmsg"};
    Napi::Array buffers = Napi::Array::New(env, chunks_.size());
    for (uint32_t index = 0; index < chunks_.size(); index++) {
      const Bytes& chunk = chunks_[index];
      buffers.Set(index, Napi::Buffer<uint8_t>::Copy(env, chunk.data(), chunk.size()));
    }
    return buffers;
  }

 private:
  std::shared_ptr<Channel> channel_;
  Napi::Reference<Napi::Buffer<uint8_t>> keep_;  // the collector must not free what the thread reads
  const uint8_t* data_;
  size_t length_;
  bool dump_;
  int timeoutMs_;
  std::vector<Bytes> chunks_;
};

class SubscribeTask : public Task {
 public:
  SubscribeTask(Napi::Env env, std::shared_ptr<Runtime> runtime, std::shared_ptr<Subscription> subscription,
                std::vector<int> groups)
      : Task(env), runtime_(std::move(runtime)), subscription_(std::move(subscription)), groups_(std::move(groups)) {}

 protected:
  // On the pool: joining waits for the kernel's netlink table lock.
  void work() override {
    for (int group : groups_) {
      if (setsockopt(subscription_->channel->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
        throw SyscallError{errno, "setsockopt"};
    }
  }
  Napi::Value result(Napi::Env env) override {
    if (subscription_->channel->closed) throw SyscallError{ECANCELED, "setsockopt"};
    runtime_->reader().add(subscription_);
    return env.Undefined();
  }

 private:
  std::shared_ptr<Runtime> runtime_;
  std::shared_ptr<Subscription> subscription_;
  std::vector<int> groups_;
};

}  // namespace

Napi::Function NetlinkSocket::define(Napi::Env env) {
  return DefineClass(env, "NetlinkSocket",
                     {InstanceMethod("transact", &NetlinkSocket::transact),
                      InstanceMethod("subscribe", &NetlinkSocket::subscribe),
                      InstanceMethod("close", &NetlinkSocket::close)});
}

NetlinkSocket::NetlinkSocket(const Napi::CallbackInfo& info) : ObjectWrap(info), runtime_(Runtime::of(info.Env())) {
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "use openNetlink");
  channel_ = *info[0].As<Napi::External<std::shared_ptr<Channel>>>().Data();
}

// Collected without close(): the descriptor must not leak.
NetlinkSocket::~NetlinkSocket() { release(); }

// transact(batch, dump, timeoutMs): Promise<Buffer[]>
// Safe because: the batch is referenced until the promise settles (the caller must not write to it meanwhile); the
// channel is shared with the task, so its descriptor cannot be closed and reused under the thread; tasks of one channel
// run one at a time in its lane.
Napi::Value NetlinkSocket::transact(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsBuffer() || !info[1].IsBoolean() || !info[2].IsNumber())
    throw Napi::TypeError::New(env, "transact(batch: Buffer, dump: boolean, timeoutMs: number)");
  if (!channel_ || subscription_) throw toJs(env, {channel_ ? EBUSY : EBADF, "sendmsg"});
  auto task = std::make_unique<TransactTask>(env, channel_, info[0].As<Napi::Buffer<uint8_t>>(),
                                             info[1].As<Napi::Boolean>().Value(),
                                             info[2].As<Napi::Number>().Int32Value());
  return runtime_->submit(std::move(task), &channel_->lane);
}

// subscribe(groups, listener(bytes, overrun)): Promise<void>
// Safe because: the listener reference lives in the subscription, which is created and destroyed on the main thread;
// once subscribed the socket takes no transactions, so the reader thread is the only one that receives on it.
Napi::Value NetlinkSocket::subscribe(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsArray() || !info[1].IsFunction())
    throw Napi::TypeError::New(env, "subscribe(groups: number[], listener: Function)");
  if (!channel_ || subscription_) throw toJs(env, {channel_ ? EBUSY : EBADF, "setsockopt"});
  Napi::Array list = info[0].As<Napi::Array>();
  std::vector<int> groups;
  for (uint32_t index = 0; index < list.Length(); index++)
    groups.push_back(list.Get(index).ToNumber().Int32Value());
  subscription_ = std::make_shared<Subscription>();
  subscription_->channel = channel_;
  subscription_->listener = Napi::Persistent(info[1].As<Napi::Function>());
  return runtime_->submit(std::make_unique<SubscribeTask>(env, runtime_, subscription_, std::move(groups)),
                          &channel_->lane);
}

// close(): idempotent. Calls under way reject with ECANCELED; the descriptor goes with the last of them, on the pool,
// because close(2) of an nf_tables socket waits for a grace period.
Napi::Value NetlinkSocket::close(const Napi::CallbackInfo& info) {
  release();
  return info.Env().Undefined();
}

void NetlinkSocket::release() {
  if (!channel_) return;
  channel_->closed = true;
  if (subscription_ && subscription_->id != 0) runtime_->reader().remove(*subscription_);
  subscription_.reset();
  runtime_->discard(std::move(channel_));
  channel_.reset();
}

// openNetlink(protocol, netnsPath | undefined, receiveBufferBytes): Promise<NetlinkSocket>
// Safe because: with a namespace the task runs on a thread of its own that ends with it, so that no other code ever
// runs in that namespace; the socket stays bound to the namespace in which socket(2) was called.
Napi::Value openNetlink(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsNumber() || !(info[1].IsString() || info[1].IsUndefined()) || !info[2].IsNumber())
    throw Napi::TypeError::New(env, "openNetlink(protocol: number, netnsPath?: string, receiveBufferBytes: number)");
  std::optional<std::string> netns;
  if (info[1].IsString()) netns = info[1].As<Napi::String>().Utf8Value();
  bool alone = netns.has_value();
  auto task = std::make_unique<OpenTask>(env, info[0].As<Napi::Number>().Int32Value(), std::move(netns),
                                         info[2].As<Napi::Number>().Int32Value());
  auto runtime = Runtime::of(env);
  return alone ? runtime->submitAlone(std::move(task)) : runtime->submit(std::move(task));
}

}  // namespace keelson
