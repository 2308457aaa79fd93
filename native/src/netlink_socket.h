// The JavaScript face of a netlink socket.
#pragma once

#include "reader.h"

namespace keelson {

class NetlinkSocket : public Napi::ObjectWrap<NetlinkSocket> {
 public:
  static Napi::Function define(Napi::Env env);
  // new: internal, takes an external that holds a std::shared_ptr<Channel>
  explicit NetlinkSocket(const Napi::CallbackInfo& info);
  ~NetlinkSocket() override;

 private:
  Napi::Value transact(const Napi::CallbackInfo& info);
  Napi::Value subscribe(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  void release();

  std::shared_ptr<Runtime> runtime_;
  std::shared_ptr<Channel> channel_;
  std::shared_ptr<Subscription> subscription_;
};

// openNetlink(protocol, netnsPath | undefined, receiveBufferBytes): Promise<NetlinkSocket>
Napi::Value openNetlink(const Napi::CallbackInfo& info);

}  // namespace keelson
