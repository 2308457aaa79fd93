// See runtime.h. Everything here is scheduling; no system call with an effect outside the process.
#include "runtime.h"

#include <cerrno>
#include <new>
#include <system_error>

#include "reader.h"

namespace keelson {

void Task::run() noexcept {
  try {
    work();
  } catch (const SyscallError& failure) {
    failure_ = failure;
  } catch (const std::bad_alloc&) {
    failure_ = SyscallError{ENOMEM, "malloc"};
  } catch (const std::system_error& error) {
    failure_ = SyscallError{error.code().value(), "pthread_create"};
  }
}

void Task::settle(Napi::Env env) {
  try {
    if (failure_) throw *failure_;
    deferred_.Resolve(result(env));
  } catch (const SyscallError& failure) {
    deferred_.Reject(toJs(env, failure).Value());
  } catch (const Napi::Error& error) {
    deferred_.Reject(error.Value());
  }
}

// The instance data is a shared_ptr so that sockets collected after it can still reach a stopped runtime.
void Runtime::attach(Napi::Env env) {
  env.SetInstanceData(new std::shared_ptr<Runtime>(std::make_shared<Runtime>(env)));
}

std::shared_ptr<Runtime> Runtime::of(Napi::Env env) { return *env.GetInstanceData<std::shared_ptr<Runtime>>(); }

Runtime::Runtime(Napi::Env env) : env_(env) {
  napi_value name = Napi::String::New(env, "keelson native result");
  napi_status status =
      napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, onCall, &wake_);
  if (status != napi_ok) throw Napi::Error::New(env, "keelson addon: no thread-safe function");
  napi_unref_threadsafe_function(env, wake_);
  // Added after the thread-safe function's own hook, so it runs before: no thread is left that could call it.
  napi_add_env_cleanup_hook(env, [](void* self) { static_cast<Runtime*>(self)->stop(); }, this);
}

Runtime::~Runtime() = default;

Napi::Promise Runtime::submit(std::unique_ptr<Task> task, Lane* lane) {
  Napi::Promise promise = task->promise();
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return promise;
    if (pending_++ == 0) napi_ref_threadsafe_function(env_, wake_);
    if (lane != nullptr && lane->busy) {
      lane->waiting.push_back(std::move(task));
      return promise;
    }
    Job job{std::move(task), lane, nullptr};
    if (enqueue(job)) {
      if (lane != nullptr) lane->busy = true;
      return promise;
    }
    task = std::move(job.task);
  }
  task->fail({EAGAIN, "pthread_create"});
  finish(std::move(task));
  return promise;
}

bool Runtime::enqueue(Job& job) {
  if (idle_ <= jobs_.size() && workers_.size() < kMaxWorkers) {
    try {
      workers_.push_back(startThread([this] { workerMain(); }));
    } catch (const std::system_error&) {
      if (workers_.empty()) return false;  // otherwise the threads that exist do it, later
    }
  }
  jobs_.push_back(std::move(job));
  ready_.notify_one();
  return true;
}

void Runtime::workerMain() {
  std::unique_lock lock(mutex_);
  for (;;) {
    idle_++;
    ready_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    idle_--;
    if (stopping_) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    if (job.task) job.task->run();
    job.resource.reset();
    lock.lock();
    // The lane is looked at before the task goes: the task owns the object that holds the lane.
    if (job.lane != nullptr) {
      if (job.lane->waiting.empty()) {
        job.lane->busy = false;
      } else {
        jobs_.push_back(Job{std::move(job.lane->waiting.front()), job.lane, nullptr});
        job.lane->waiting.pop_front();
        ready_.notify_one();
      }
    }
    if (job.task) {
      lock.unlock();
      finish(std::move(job.task));
      lock.lock();
    }
  }
}

Napi::Promise Runtime::submitAlone(std::unique_ptr<Task> task) {
  Napi::Promise promise = task->promise();
  joinFinished();
  std::lock_guard lock(mutex_);
  if (stopping_) return promise;
  // The new thread takes the mutex before it looks at its own entry, so that the entry is complete by then.
  auto entry = alone_.emplace(alone_.end());
  Task* raw = task.get();
  try {
    *entry = startThread([this, raw, entry] {
      raw->run();
      finish(std::unique_ptr<Task>(raw));
      std::lock_guard inner(mutex_);
      over_.push_back(entry);
    });
    task.release();
  } catch (const std::system_error& error) {
    alone_.erase(entry);
    throw toJs(env_, SyscallError{error.code().value(), "pthread_create"});
  }
  if (pending_++ == 0) napi_ref_threadsafe_function(env_, wake_);
  return promise;
}

void Runtime::joinFinished() {
  std::vector<std::thread> ended;
  {
    std::lock_guard lock(mutex_);
    for (auto entry : over_) {
      ended.push_back(std::move(*entry));
      alone_.erase(entry);
    }
    over_.clear();
  }
  for (auto& thread : ended) thread.join();
}

void Runtime::finish(std::unique_ptr<Task> task) { post(std::move(task)); }

void Runtime::post(std::unique_ptr<Completion> completion) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    wake = completions_.empty() && !stopping_;
    // While stopping too: it holds JavaScript references, which stop() drops on the main thread once this one has ended.
    completions_.push_back(std::move(completion));
  }
  if (wake) napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Runtime::discard(std::shared_ptr<void> resource) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;  // dropped here and now, as it is when no thread can be had
  Job job{nullptr, nullptr, std::move(resource)};
  enqueue(job);
}

void Runtime::onCall(napi_env env, napi_value, void* context, void*) {
  if (env != nullptr) static_cast<Runtime*>(context)->drain(env);
}

void Runtime::drain(Napi::Env env) {
  std::deque<std::unique_ptr<Completion>> batch;
  {
    std::lock_guard lock(mutex_);
    batch.swap(completions_);
  }
  for (auto& completion : batch) {
    Napi::HandleScope scope(env);
    try {
      completion->settle(env);
    } catch (const Napi::Error&) {
      // An environment that is being terminated (a worker thread) runs no JavaScript any more: nobody could hear it.
    }
    if (dynamic_cast<Task*>(completion.get()) != nullptr && --pending_ == 0) napi_unref_threadsafe_function(env, wake_);
    completion.reset();
  }
}

Reader& Runtime::reader() {
  if (!reader_) reader_ = std::make_unique<Reader>(*this);
  return *reader_;
}

// Environment cleanup, main thread. Waits for system calls under way: they cannot be taken back, and a thread must not
// outlive the code it runs. Work that waits is dropped; its promises never settle because no JavaScript runs any more.
void Runtime::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_all();
  if (reader_) reader_->stop();
  for (auto& worker : workers_) worker.join();
  for (auto& thread : alone_) thread.join();
  alone_.clear();
  over_.clear();
  for (auto& job : jobs_) {
    // A busy lane has its next task here. Those behind it own the channel that owns the lane: the circle is cut.
    std::deque<std::unique_ptr<Task>> waiting;
    if (job.lane != nullptr) waiting.swap(job.lane->waiting);
  }
  jobs_.clear();
  completions_.clear();
  socketClass.Reset();
  napi_release_threadsafe_function(wake_, napi_tsfn_abort);
  wake_ = nullptr;
}

}  // namespace keelson
