// What a system call refused, carried from a native thread to the main thread as plain data.
// Must not touch JavaScript off the main thread: only toJs() does, and only settle() calls it.
#pragma once

#include <napi.h>

#include <cstring>
#include <string>

namespace keelson {

// Thrown by code on native threads; the task that runs the code catches it.
struct SyscallError {
  int number;           // positive errno
  const char* syscall;  // a literal, so that copying never allocates
};

// An Error with numeric `errno` (positive) and `syscall`; src/kernel maps it to KernelError.
inline Napi::Error toJs(Napi::Env env, const SyscallError& failure) {
  char reason[128] = "";
  const char* text = strerror_r(failure.number, reason, sizeof reason);  // the GNU variant returns the text
  Napi::Error error = Napi::Error::New(env, std::string(failure.syscall) + ": " + text);
  error.Set("errno", Napi::Number::New(env, failure.number));
  error.Set("syscall", Napi::String::New(env, failure.syscall));
  return error;
}

}  // namespace keelson
