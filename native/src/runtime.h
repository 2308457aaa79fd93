// The native threads of one Node environment and the way their results come back to its main thread.
//
// Why not libuv's pool: a netlink request can wait for RTNL for seconds, and four of those would stop every file read
// and DNS lookup of the process. Why not the main thread: the same wait would stop everything.
//
// Threading rules: submit*() and everything in Napi:: belong to the main thread. run() of a task belongs to a native
// thread and must not touch Napi::. settle() of the same task runs afterwards on the main thread.
#pragma once

#include <napi.h>

#include <condition_variable>
#include <csignal>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "syscall_error.h"

namespace keelson {

// Something that has to be said to JavaScript on the main thread.
class Completion {
 public:
  virtual ~Completion() = default;
  virtual void settle(Napi::Env env) = 0;
};

// One unit of native work behind one promise.
class Task : public Completion {
 public:
  explicit Task(Napi::Env env) : deferred_(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

  // Native thread: calls work() and keeps what it throws.
  void run() noexcept;
  void fail(SyscallError failure) { failure_ = failure; }
  // Main thread: rejects with the kept failure or resolves with result().
  void settle(Napi::Env env) final;

 protected:
  virtual void work() = 0;                        // may throw SyscallError
  virtual Napi::Value result(Napi::Env env) = 0;  // may throw SyscallError or Napi::Error

 private:
  Napi::Promise::Deferred deferred_;
  std::optional<SyscallError> failure_;
};

// Tasks of one lane run one after the other, in order; guarded by Runtime's mutex.
struct Lane {
  std::deque<std::unique_ptr<Task>> waiting;
  bool busy = false;
};

class Reader;

class Runtime : public std::enable_shared_from_this<Runtime> {
 public:
  static void attach(Napi::Env env);
  static std::shared_ptr<Runtime> of(Napi::Env env);
  explicit Runtime(Napi::Env env);
  ~Runtime();

  // Runs the task on the pool; tasks of one lane never overlap. The lane must outlive the task (tasks own it).
  Napi::Promise submit(std::unique_ptr<Task> task, Lane* lane = nullptr);
  // Runs the task on a thread of its own that ends afterwards: for work that calls setns.
  Napi::Promise submitAlone(std::unique_ptr<Task> task);
  // Any thread: hands a completion to the main thread. Does not keep the process alive.
  void post(std::unique_ptr<Completion> completion);
  // Runs `release` on the pool without a promise (close(2) of a netlink socket may wait for the kernel).
  void discard(std::shared_ptr<void> resource);
  // Main thread: the thread that reads notifications, started at its first use.
  Reader& reader();

  Napi::FunctionReference socketClass;

 private:
  struct Job {
    std::unique_ptr<Task> task;
    Lane* lane = nullptr;
    std::shared_ptr<void> resource;  // instead of a task: to be dropped
  };

  bool enqueue(Job& job);  // mutex held; false when there is no thread to run it
  void workerMain();
  void finish(std::unique_ptr<Task> task);
  void drain(Napi::Env env);
  void stop();
  void joinFinished();
  static void onCall(napi_env env, napi_value, void* context, void*);

  static constexpr size_t kMaxWorkers = 4;

  Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  size_t pending_ = 0;  // main thread: promises not settled yet

  std::mutex mutex_;
  std::condition_variable ready_;
  bool stopping_ = false;
  size_t idle_ = 0;
  std::deque<Job> jobs_;
  std::vector<std::thread> workers_;
  std::list<std::thread> alone_;                        // running
  std::vector<std::list<std::thread>::iterator> over_;  // of alone_: finished, to be joined
  std::deque<std::unique_ptr<Completion>> completions_;
  std::unique_ptr<Reader> reader_;
};

// Starts a thread that receives no signals, so that Node's handlers run where Node expects them.
template <typename Function>
std::thread startThread(Function function) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  try {
    std::thread thread(std::move(function));
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace keelson
