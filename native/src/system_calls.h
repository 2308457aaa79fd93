// The remaining system calls, each as one function for JavaScript: mounts, a sysctl in a namespace, sd_notify.
#pragma once

#include <napi.h>

namespace keelson {

Napi::Value mountFilesystem(const Napi::CallbackInfo& info);
Napi::Value unmountFilesystem(const Napi::CallbackInfo& info);
Napi::Value bindMount(const Napi::CallbackInfo& info);
Napi::Value writeInNetns(const Napi::CallbackInfo& info);
Napi::Value sdNotify(const Napi::CallbackInfo& info);

}  // namespace keelson
