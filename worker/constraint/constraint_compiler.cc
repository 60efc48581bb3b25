#include "worker/constraint/constraint_compiler.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace phalanx {
namespace {

// What an entry takes beside its text and its lexer: grammar, tables, the lists here.
constexpr size_t kEntryBytes = 16 << 10;

std::string KeyOf(const ConstraintSource& source) {
  return absl::StrCat(static_cast<int>(source.kind), ":", source.text);
}

size_t BytesOf(const std::string& key, const Constraint* constraint) {
  size_t bytes = kEntryBytes + key.size();
  if (constraint != nullptr) bytes += constraint->lexer_size().bytes;
  return bytes;
}

}  // namespace

ConstraintCompiler::ConstraintCompiler(MakeVocabulary make_vocabulary, const Options& options,
                                       Check check)
    : make_vocabulary_(std::move(make_vocabulary)),
      options_(options),
      check_(std::move(check)),
      thread_([this] { Run(); }) {}

ConstraintCompiler::~ConstraintCompiler() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  wake_.Signal();
  thread_.join();
}

absl::Status ConstraintCompiler::Compile(ConstraintSource source,
                                         std::function<void(Result)> done) {
  Result result;
  {
    MutexLock lock(&mutex_);
    if (!Find(KeyOf(source), &result)) {
      return Enqueue({.source = std::move(source), .done = std::move(done)});
    }
  }
  done(std::move(result));
  return absl::OkStatus();
}

absl::Status ConstraintCompiler::GetVocabulary(std::function<void(VocabularyResult)> done) {
  std::shared_ptr<const ConstraintVocabulary> vocabulary;
  {
    MutexLock lock(&mutex_);
    if (vocabulary_ == nullptr) return Enqueue({.give_vocabulary = std::move(done)});
    vocabulary = vocabulary_;
  }
  done(std::move(vocabulary));
  return absl::OkStatus();
}

absl::Status ConstraintCompiler::Enqueue(Task task) {
  if (queue_.size() >= options_.max_queued) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "constraint: ", queue_.size(), " constraints wait to be compiled; try again later"));
  }
  queue_.push_back(std::move(task));
  wake_.Signal();
  return absl::OkStatus();
}

ConstraintCompiler::Stats ConstraintCompiler::stats() const {
  MutexLock lock(&mutex_);
  Stats stats = stats_;
  stats.entries = entries_.size();
  stats.bytes = bytes_;
  return stats;
}

void ConstraintCompiler::Run() {
  while (true) {
    Task task;
    {
      MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) wake_.Wait(&mutex_);
      if (stopping_) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    if (task.give_vocabulary) {
      task.give_vocabulary(Vocabulary());
    } else {
      Compile(task);
    }
  }
}

void ConstraintCompiler::Compile(const Task& task) {
  Result result;
  bool found = false;
  {
    MutexLock lock(&mutex_);
    // The same may have been compiled while this one waited.
    found = Find(KeyOf(task.source), &result);
  }
  if (!found) {
    result = CompileNow(task.source);
    MutexLock lock(&mutex_);
    ++(result.ok() ? stats_.compiled : stats_.refused);
    Keep(KeyOf(task.source), result);
  }
  task.done(std::move(result));
}

ConstraintCompiler::VocabularyResult ConstraintCompiler::Vocabulary() {
  {
    MutexLock lock(&mutex_);
    if (vocabulary_ != nullptr) return vocabulary_;
  }
  // Only the thread of this object comes here, so it is not made twice.
  VocabularyResult made = make_vocabulary_();
  if (!made.ok()) return absl::InvalidArgumentError(made.status().message());
  MutexLock lock(&mutex_);
  vocabulary_ = *made;
  return made;
}

ConstraintCompiler::Result ConstraintCompiler::CompileNow(const ConstraintSource& source) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const ConstraintVocabulary> vocabulary, Vocabulary());
  RETURN_IF_ERROR(check_(source, options_.limits, vocabulary->named_tokens()));
  return Constraint::Compile(vocabulary, source, options_.limits);
}

bool ConstraintCompiler::Find(const std::string& key, Result* result) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return false;
  const Entries::iterator entry = found->second;
  // A lexer that texts have made large is left to these texts, before one of them hits its limit.
  if (entry->constraint != nullptr &&
      entry->constraint->lexer_size().states > options_.limits.max_lexer_states / 2) {
    Drop(entry);
    return false;
  }
  ++stats_.hits;
  if (entry->constraint == nullptr) {
    *result = entry->refusal;
  } else {
    *result = entry->constraint->Copy();
  }
  entries_.splice(entries_.begin(), entries_, entry);
  return true;
}

void ConstraintCompiler::Keep(std::string key, const Result& result) {
  if (!result.ok() && !absl::IsInvalidArgument(result.status())) return;
  entries_.push_front({.key = std::move(key),
                       .constraint = result.ok() ? (*result)->Copy() : nullptr,
                       .refusal = result.status()});
  by_key_[entries_.front().key] = entries_.begin();
  // Lexers grow while texts are written, so all are looked at again.
  bytes_ = 0;
  for (Entry& entry : entries_) {
    entry.bytes = BytesOf(entry.key, entry.constraint.get());
    bytes_ += entry.bytes;
  }
  while (entries_.size() > 1 &&
         (entries_.size() > options_.max_entries || bytes_ > options_.max_bytes)) {
    Drop(std::prev(entries_.end()));
  }
}

void ConstraintCompiler::Drop(Entries::iterator entry) {
  bytes_ -= entry->bytes;
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

}  // namespace phalanx
