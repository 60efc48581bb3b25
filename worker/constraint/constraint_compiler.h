// Compiles the constraints of requests, on a thread of its own.
#ifndef PHALANX_WORKER_CONSTRAINT_CONSTRAINT_COMPILER_H_
#define PHALANX_WORKER_CONSTRAINT_CONSTRAINT_COMPILER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "worker/constraint/constraint.h"
#include "worker/constraint/constraint_source.h"
#include "worker/constraint/constraint_vocabulary.h"

namespace phalanx {

// Thread-safe.
//
// What has been compiled is kept, up to bounds of number and memory, and so are refusals. Those
// that were asked for the longest time ago leave first.
class ConstraintCompiler {
 public:
  // Whether a constraint can be compiled within its limits: ConstraintChecker, or a stand-in in
  // tests.
  using Check =
      std::function<absl::Status(const ConstraintSource& source, const ConstraintLimits& limits,
                                 absl::Span<const std::string> named_tokens)>;

  struct Options {
    ConstraintLimits limits = {};
    // How many constraints may wait to be compiled.
    size_t max_queued = 64;
    // What is kept: entries, and the bytes of their texts and lexers.
    size_t max_entries = 256;
    size_t max_bytes = size_t{256} << 20;
  };

  // Makes the model's vocabulary, which takes up to a second and tens of megabytes.
  using VocabularyResult = absl::StatusOr<std::shared_ptr<const ConstraintVocabulary>>;
  using MakeVocabulary = std::function<VocabularyResult()>;

  // What a compilation gave: a constraint at the beginning of its text, or INVALID_ARGUMENT with
  // the reason, or UNAVAILABLE if the machine could not do it.
  using Result = absl::StatusOr<std::unique_ptr<Constraint>>;

  // `make_vocabulary` is called for the first constraint, or the first call of GetVocabulary, on
  // the thread of this object, and again only if it failed. If it fails, so does what needed it:
  // with INVALID_ARGUMENT and its message.
  ConstraintCompiler(MakeVocabulary make_vocabulary, const Options& options, Check check);
  ConstraintCompiler(const ConstraintCompiler&) = delete;
  ConstraintCompiler& operator=(const ConstraintCompiler&) = delete;
  // Waits for the compilation that runs. Those that wait are dropped, and `done` is not called.
  ~ConstraintCompiler();

  // Calls `done` once, from the thread of this object, or from this call if the constraint is kept.
  // Does not block. RESOURCE_EXHAUSTED if the queue is full, and `done` is then not called.
  absl::Status Compile(ConstraintSource source, std::function<void(Result)> done)
      LOCKS_EXCLUDED(mutex_);

  // Calls `done` once, as Compile does, with the model's vocabulary. Errors as of Compile.
  absl::Status GetVocabulary(std::function<void(VocabularyResult)> done) LOCKS_EXCLUDED(mutex_);

  struct Stats {
    int64_t hits = 0;
    int64_t compiled = 0;
    int64_t refused = 0;
    size_t entries = 0;
    size_t bytes = 0;
  };
  Stats stats() const LOCKS_EXCLUDED(mutex_);

 private:
  struct Task {
    ConstraintSource source = {};
    std::function<void(Result)> done = {};
    // Set if the vocabulary is wanted, and no constraint.
    std::function<void(VocabularyResult)> give_vocabulary = {};
  };
  struct Entry {
    std::string key;
    // Copied for each request, and never used itself. Null if the constraint was refused.
    std::unique_ptr<Constraint> constraint;
    absl::Status refusal;
    size_t bytes = 0;
  };
  using Entries = std::list<Entry>;

  absl::Status Enqueue(Task task) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();
  void Compile(const Task& task) LOCKS_EXCLUDED(mutex_);
  Result CompileNow(const ConstraintSource& source) LOCKS_EXCLUDED(mutex_);
  VocabularyResult Vocabulary() LOCKS_EXCLUDED(mutex_);
  // False if nothing is kept for `key`.
  bool Find(const std::string& key, Result* result) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Keep(std::string key, const Result& result) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Drop(Entries::iterator entry) EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const MakeVocabulary make_vocabulary_;
  const Options options_;
  const Check check_;

  mutable Mutex mutex_;
  CondVar wake_;
  // Null until it has been made.
  std::shared_ptr<const ConstraintVocabulary> vocabulary_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::deque<Task> queue_ GUARDED_BY(mutex_);
  // The most recently used first.
  Entries entries_ GUARDED_BY(mutex_);
  absl::flat_hash_map<absl::string_view, Entries::iterator> by_key_ GUARDED_BY(mutex_);
  size_t bytes_ GUARDED_BY(mutex_) = 0;
  Stats stats_ GUARDED_BY(mutex_);
  // The last member, so that it starts when all others are there.
  std::thread thread_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_CONSTRAINT_CONSTRAINT_COMPILER_H_
