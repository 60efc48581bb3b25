#include "tests/fuzz/properties.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "base/log.h"
#include "coordinator/text/answer/detokenizer.h"
#include "coordinator/text/tokenizer/tokenizer.h"
#include "model/files/tensor.h"
#include "model/sharding/shard.h"

namespace phalanx {
namespace {

// Letters, digits, white space, two bytes, four bytes, an added token of the seeds.
constexpr absl::string_view kText = "the 1234\n\n  K\u00e4se \U0001f642<|im_end|>'ll  ";

void CheckIsPart(const Range& range, int* end) {
  CHECK(range.begin == *end && range.end > range.begin) << range.begin << ".." << range.end;
  *end = range.end;
}

}  // namespace

void CheckError(const absl::Status& status, absl::string_view path) {
  if (status.ok()) return;
  CHECK(absl::StartsWith(status.message(), path)) << status;
  CHECK(status.code() == absl::StatusCode::kDataLoss ||
        status.code() == absl::StatusCode::kUnimplemented)
      << status;
}

void CheckTensors(absl::Span<const TensorView> tensors) {
  for (const TensorView& tensor : tensors) {
    CHECK(tensor.rows > 0 && tensor.cols > 0 && !tensor.data.empty()) << tensor.name;
    unsigned sum = 0;
    for (const std::byte byte : tensor.data) sum += static_cast<unsigned>(byte);
    CHECK(sum <= tensor.data.size() * 0xff);
  }
}

void CheckSpec(const ModelSpec& spec) {
  for (const int dimension : {spec.num_layers, spec.hidden, spec.num_q_heads, spec.num_kv_heads,
                              spec.head_dim, spec.ffn, spec.vocab, spec.context_tokens}) {
    CHECK(dimension >= 1 && dimension <= kMaxModelDimension) << dimension;
  }
  CHECK(spec.rotary_dim <= spec.head_dim && spec.rotary_dim % 2 == 0);
  for (const auto& factors : {spec.rope.factors, spec.rope.long_factors}) {
    CHECK(factors.empty() || factors.size() == static_cast<size_t>(spec.rotary_dim) / 2);
  }
  for (const int world : {1, 2, 3, 8, std::min(spec.num_kv_heads, 64)}) {
    int heads = 0;
    int ffn = 0;
    int vocab = 0;
    for (int rank = 0; rank < world; ++rank) {
      const absl::StatusOr<Shard> shard = ShardModel(spec, rank, world);
      // A world that is too large is so for all of its ranks.
      CHECK(shard.ok() || rank == 0) << shard.status();
      if (!shard.ok()) return;
      CheckIsPart(shard->kv_heads, &heads);
      CheckIsPart(shard->ffn, &ffn);
      CheckIsPart(shard->vocab, &vocab);
    }
    CHECK(heads == spec.num_kv_heads && ffn == spec.ffn && vocab == spec.vocab) << world;
  }
}

void CheckTokenizer(TokenizerAssets assets) {
  const auto vocab = static_cast<int32_t>(assets.token_bytes.size());
  CHECK(assets.token_kinds.size() == assets.token_bytes.size());
  for (const int32_t id : assets.eos_token_ids) CHECK(id >= 0 && id < vocab) << id;
  for (const auto& [left, right] : assets.merges) {
    CHECK(left >= 0 && left < vocab && right >= 0 && right < vocab) << left << " " << right;
  }
  const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Create(std::move(assets));
  if (!tokenizer.ok()) return;
  const absl::StatusOr<std::vector<int32_t>> ids = (*tokenizer)->Encode(kText);
  if (!ids.ok()) return;
  for (const int32_t id : *ids) CHECK(id >= 0 && id < vocab) << id;
  Detokenizer detokenizer(&(*tokenizer)->assets(), Detokenizer::ControlTokens::kSpell);
  const std::string decoded = detokenizer.Push(*ids) + detokenizer.Flush();
  CHECK(decoded.size() <= 4 * kText.size() * 64) << decoded.size();
}

}  // namespace phalanx
