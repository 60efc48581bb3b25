#include "kernels/cpu/kv_arena.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "kernels/bfloat16.h"
#include "kernels/kv_quantize.h"

namespace phalanx::kernels {
namespace {

// What one token has for a KV head.
struct TokenOfHead {
  const float* key;
  const float* value;
  int head_dim;
  int slot;  // Its place in its block.
};

// Stores each number x as round(x, scale of its row).
template <typename Element, typename Round>
void WriteToken(const TokenOfHead& token, void* keys_to, void* values_to, const KvScale& key_scale,
                const KvScale& value_scale, Round round) {
  // A key is scattered over head_dim lines of the block: it is written once and then read by every
  // later token, so the layout favours reading.
  auto* const keys = static_cast<Element*>(keys_to) + token.slot;
  for (int d = 0; d < token.head_dim; ++d) {
    keys[d * kKvBlockTokens] = round(token.key[d], key_scale);
  }
  auto* const values =
      static_cast<Element*>(values_to) + token.slot * KvArena::ValueStride(token.head_dim);
  for (int d = 0; d < token.head_dim; ++d) values[d] = round(token.value[d], value_scale);
}

KvScale ScaleOf(const float* row, int head_dim) {
  uint32_t amax = 0;
  for (int d = 0; d < head_dim; ++d) amax = std::max(amax, KvMagnitude(row[d]));
  return KvScaleOf(KvDType::kInt8, amax);
}

}  // namespace

size_t KvArena::Bytes(const Shape& shape) {
  return static_cast<size_t>(shape.num_blocks * BlockStride(shape));
}

absl::Status KvArena::CheckDType(KvDType dtype) {
  if (dtype != KvDType::kFp8) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "a CPU keeps keys and values in f32, bf16 or int8, not in ", KvDTypeName(dtype)));
}

absl::StatusOr<std::unique_ptr<KvArena>> KvArena::Create(const Shape& shape, ThreadTeam& team) {
  if (absl::Status status = CheckDType(shape.dtype); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<HostBuffer>> arena = HostBuffer::Create(Bytes(shape));
  if (!arena.ok()) return arena.status();
  const auto on_team = [&](size_t pieces, absl::FunctionRef<void(size_t)> take) {
    // One by one, so that pieces side by side are of different threads.
    std::atomic<size_t> next = 0;
    team.Run(team.num_threads(), [&](uint32_t) {
      for (size_t piece; (piece = next.fetch_add(1)) < pieces;) take(piece);
    });
  };
  if (absl::Status status = (*arena)->Populate(on_team); !status.ok()) return status;
  return std::unique_ptr<KvArena>(new KvArena(shape, *std::move(arena)));
}

KvArena::KvArena(const Shape& shape, std::unique_ptr<HostBuffer> arena)
    : shape_(shape), arena_(std::move(arena)) {}

int64_t KvArena::KeyBytes(const Shape& shape) {
  return int64_t{kKvBlockTokens} * shape.head_dim *
         static_cast<int64_t>(KvElementBytes(shape.dtype));
}

int64_t KvArena::ScalesAt(const Shape& shape) {
  return int64_t{kKvBlockTokens} * (shape.head_dim + ValueStride(shape.head_dim)) *
         static_cast<int64_t>(KvElementBytes(shape.dtype));
}

int64_t KvArena::HeadStride(const Shape& shape) {
  const int64_t scales = HasKvScales(shape.dtype) ? 2 * kKvBlockTokens : 0;
  return ScalesAt(shape) + scales * static_cast<int64_t>(sizeof(float));
}

int64_t KvArena::BlockStride(const Shape& shape) {
  return int64_t{shape.num_layers} * shape.num_kv_heads * HeadStride(shape);
}

std::byte* KvArena::Head(int layer, int kv_head) const {
  return static_cast<std::byte*>(arena_->data()) +
         (int64_t{layer} * shape_.num_kv_heads + kv_head) * HeadStride(shape_);
}

const std::byte* KvArena::values(int layer, int kv_head) const {
  return Head(layer, kv_head) + KeyBytes(shape_);
}

const std::byte* KvArena::scales(int layer, int kv_head) const {
  return Head(layer, kv_head) + ScalesAt(shape_);
}

void KvArena::Write(int layer, int64_t block, int slot, const float* keys, const float* values) {
  const int head_dim = shape_.head_dim;
  for (int g = 0; g < shape_.num_kv_heads; ++g) {
    std::byte* const to = Head(layer, g) + block * block_stride();
    const TokenOfHead token = {keys + g * head_dim, values + g * head_dim, head_dim, slot};
    void* const values_to = to + KeyBytes(shape_);
    switch (shape_.dtype) {
      case KvDType::kF32:
        WriteToken<float>(token, to, values_to, {}, {}, [](float x, KvScale) { return x; });
        break;
      case KvDType::kBF16:
        WriteToken<uint16_t>(token, to, values_to, {}, {},
                             [](float x, KvScale) { return FloatToBFloat16(x); });
        break;
      case KvDType::kInt8: {
        const KvScale key_scale = ScaleOf(token.key, head_dim);
        const KvScale value_scale = ScaleOf(token.value, head_dim);
        WriteToken<int8_t>(token, to, values_to, key_scale, value_scale, Int8Level);
        auto* const scales = reinterpret_cast<float*>(to + ScalesAt(shape_));
        scales[slot] = key_scale.scale;
        scales[kKvBlockTokens + slot] = value_scale.scale;
        break;
      }
      case KvDType::kFp8:  // Create refuses it.
        break;
    }
  }
}

}  // namespace phalanx::kernels
