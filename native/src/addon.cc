// The addon's table of contents: what JavaScript sees. The typed counterpart is src/kernel/addon.ts.
#include <napi.h>

#include "netlink_socket.h"
#include "runtime.h"
#include "system_calls.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  keelson::Runtime::attach(env);
  keelson::Runtime::of(env)->socketClass = Napi::Persistent(keelson::NetlinkSocket::define(env));
  exports.Set("openNetlink", Napi::Function::New(env, keelson::openNetlink));
  exports.Set("mount", Napi::Function::New(env, keelson::mountFilesystem));
  exports.Set("umount", Napi::Function::New(env, keelson::unmountFilesystem));
  exports.Set("bindMount", Napi::Function::New(env, keelson::bindMount));
  exports.Set("writeInNetns", Napi::Function::New(env, keelson::writeInNetns));
  exports.Set("sdNotify", Napi::Function::New(env, keelson::sdNotify));
  return exports;
}

}  // namespace

NODE_API_MODULE(keelson, init)
