#include "worker/net/tls_credentials.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/errno_text.h"
#include "base/log.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "worker/net/tls_context.h"

namespace phalanx {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  char block[4096];
  ssize_t bytes = file.get() < 0 ? -1 : 1;
  while (bytes > 0 && text.size() <= kMaxFileBytes) {
    bytes = read(file.get(), block, sizeof(block));
    if (bytes > 0) text.append(block, static_cast<size_t>(bytes));
  }
  if (bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", path, ": ", ErrnoText(errno)));
  }
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat("cannot use ", path, ": it is too large"));
  }
  return text;
}

}  // namespace

struct TlsCredentials::Contents {
  static Contents Of(const Files& files) {
    return {ReadWhole(files.certificate), ReadWhole(files.key), ReadWhole(files.authorities)};
  }
  absl::StatusOr<TlsContext> MakeContext(const Files& files) const {
    for (const auto* each : {&certificate, &key, &authorities}) RETURN_IF_ERROR(each->status());
    return MakeTlsContext({files.certificate, *certificate}, {files.key, *key},
                          {files.authorities, *authorities});
  }
  bool operator==(const Contents& other) const = default;

  absl::StatusOr<std::string> certificate, key, authorities;
};

absl::StatusOr<std::shared_ptr<TlsCredentials>> TlsCredentials::Create(const Files& files) {
  std::shared_ptr<TlsCredentials> credentials(new TlsCredentials(files));
  Contents contents = Contents::Of(files);
  ASSIGN_OR_RETURN(TlsContext context, contents.MakeContext(files));
  MutexLock lock(&credentials->mutex_);
  credentials->seen_ = std::make_unique<Contents>(std::move(contents));
  credentials->context_ = context.release();
  return credentials;
}

TlsCredentials::TlsCredentials(Files files) : files_(std::move(files)) {}

TlsCredentials::~TlsCredentials() { SSL_CTX_free(context_); }

void TlsCredentials::ReloadIfChanged() {
  // The contents and not the times of the files: they are small, handshakes are rare, and a file
  // may change without its time.
  Contents contents = Contents::Of(files_);
  if (contents == *seen_) return;
  *seen_ = std::move(contents);
  absl::StatusOr<TlsContext> context = seen_->MakeContext(files_);
  if (!context.ok()) {
    LOG(ERROR) << "the certificate files have changed but do not fit; the last good ones stay in "
                  "use: "
               << context.status().message();
    return;
  }
  SSL_CTX_free(context_);
  context_ = context->release();
  LOG(INFO) << "loaded the certificate " << files_.certificate << " again";
}

SSL* TlsCredentials::NewSession() {
  MutexLock lock(&mutex_);
  ReloadIfChanged();
  return SSL_new(context_);
}

}  // namespace phalanx
