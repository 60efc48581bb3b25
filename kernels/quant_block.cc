#include "kernels/quant_block.h"

#include <cstring>

namespace phalanx::kernels {
namespace {

uint16_t Load16(const std::byte* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof(bits));
  return bits;
}

// `count` bits of `b` from bit `first` on.
uint8_t Bits(std::byte b, int first, int count) {
  return static_cast<uint8_t>(std::to_integer<uint8_t>(b) >> first & ((1 << count) - 1));
}

// --- Blocks of 32 ---

// Element j in the low nibble of byte j, element j + 16 in the high one.
void ReadNibbles32(const std::byte* qs, QuantBlock& block) {
  for (int j = 0; j < 16; ++j) block.codes[j] = Bits(qs[j], 0, 4);
  for (int j = 0; j < 16; ++j) block.codes[j + 16] = Bits(qs[j], 4, 4);
}

// The fifth bit of element k is bit k of qh.
void ReadFifthBits32(const std::byte* qh, QuantBlock& block) {
  uint32_t bits;
  std::memcpy(&bits, qh, sizeof(bits));
  for (int k = 0; k < 32; ++k) block.codes[k] |= static_cast<uint8_t>((bits >> k & 1) << 4);
}

// Signed bytes. Flipping the top bit adds 128, which makes the codes unsigned.
void ReadBytes32(const std::byte* qs, QuantBlock& block) {
  for (int k = 0; k < 32; ++k) block.codes[k] = Bits(qs[k] ^ std::byte{0x80}, 0, 8);
}

// --- Blocks of 256 ---

// 256 fields of kBits bits, in chunks of kBytes bytes. A byte holds 8 / kBits fields: the lowest
// fields of a chunk's bytes belong to its first kBytes elements, the next higher fields to the
// kBytes after them, and so on. The fields are put at bit `at` of the codes.
template <int kBits, int kBytes>
void ReadFields(const std::byte* from, int at, QuantBlock& block) {
  uint8_t* codes = block.codes.data();
  for (int chunk = 0; chunk < 256 * kBits / 8; chunk += kBytes) {
    for (int field = 0; field < 8; field += kBits, codes += kBytes) {
      for (int j = 0; j < kBytes; ++j) {
        codes[j] |= static_cast<uint8_t>(Bits(from[chunk + j], field, kBits) << at);
      }
    }
  }
}

// Eight scales and eight minimums of six bits in 12 bytes. Sub-blocks 0 to 3 have their scales in
// the low six bits of bytes 0 to 3, and their minimums in those of bytes 4 to 7. Sub-blocks 4 to 7
// have the low four bits of both in bytes 8 to 11, and the high two in the top bits of bytes 0
// to 7.
void ReadScales6(const std::byte* from, QuantBlock& block) {
  for (int s = 0; s < 4; ++s) {
    const std::byte low = from[8 + s];
    block.scales[s] = static_cast<int8_t>(Bits(from[s], 0, 6));
    block.minimums[s] = Bits(from[s + 4], 0, 6);
    block.scales[s + 4] = static_cast<int8_t>(Bits(low, 0, 4) | Bits(from[s], 6, 2) << 4);
    block.minimums[s + 4] = static_cast<uint8_t>(Bits(low, 4, 4) | Bits(from[s + 4], 6, 2) << 4);
  }
}

// Sixteen scales of six bits, to which the file adds 32: the low four bits are in bytes 0 to 7, two
// scales a byte, and the high two in bytes 8 to 11, four scales a byte.
void ReadSignedScales6(const std::byte* from, QuantBlock& block) {
  for (int s = 0; s < 16; ++s) {
    const int low = Bits(from[s % 8], s / 8 * 4, 4);
    const int high = Bits(from[8 + s % 4], s / 4 * 2, 2);
    block.scales[s] = static_cast<int8_t>((low | high << 4) - 32);
  }
}

// The file's minimum is to be subtracted, and QuantBlock's is added: flips the sign.
void ReadMinimum(const std::byte* dmin, QuantBlock& block) {
  block.m = static_cast<uint16_t>(Load16(dmin) ^ 0x8000);
}

void ReadQ2K(const std::byte* from, QuantBlock& block) {
  for (int s = 0; s < 16; ++s) {
    block.scales[s] = static_cast<int8_t>(Bits(from[s], 0, 4));
    block.minimums[s] = Bits(from[s], 4, 4);
  }
  ReadFields<2, 32>(from + 16, 0, block);
  block.d = Load16(from + 80);
  ReadMinimum(from + 82, block);
}

void ReadQ3K(const std::byte* from, QuantBlock& block) {
  ReadFields<1, 32>(from, 2, block);
  ReadFields<2, 32>(from + 32, 0, block);
  ReadSignedScales6(from + 96, block);
  block.d = Load16(from + 108);
}

// kQ4_K, or with a fifth bit kQ5_K.
void ReadQ45K(bool fifth_bits, const std::byte* from, QuantBlock& block) {
  block.d = Load16(from);
  ReadMinimum(from + 2, block);
  ReadScales6(from + 4, block);
  if (fifth_bits) ReadFields<1, 32>(from + 16, 4, block);
  ReadFields<4, 32>(from + (fifth_bits ? 48 : 16), 0, block);
}

void ReadQ6K(const std::byte* from, QuantBlock& block) {
  ReadFields<4, 64>(from, 0, block);
  ReadFields<2, 32>(from + 128, 4, block);
  std::memcpy(block.scales.data(), from + 192, 16);
  block.d = Load16(from + 208);
}

}  // namespace

QuantBlock ReadQuantBlock(DType dtype, const std::byte* from) {
  QuantBlock block;
  block.d = Load16(from);
  block.scales.fill(1);
  block.minimums.fill(1);
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      break;
    case DType::kQ4_0:
    case DType::kIQ4_NL:
      ReadNibbles32(from + 2, block);
      break;
    case DType::kQ4_1:
      block.m = Load16(from + 2);
      ReadNibbles32(from + 4, block);
      break;
    case DType::kQ5_0:
      ReadNibbles32(from + 6, block);
      ReadFifthBits32(from + 2, block);
      break;
    case DType::kQ5_1:
      block.m = Load16(from + 2);
      ReadNibbles32(from + 8, block);
      ReadFifthBits32(from + 4, block);
      break;
    case DType::kQ8_0:
      ReadBytes32(from + 2, block);
      break;
    case DType::kQ2_K:
      ReadQ2K(from, block);
      break;
    case DType::kQ3_K:
      ReadQ3K(from, block);
      break;
    case DType::kQ4_K:
    case DType::kQ5_K:
      ReadQ45K(dtype == DType::kQ5_K, from, block);
      break;
    case DType::kQ6_K:
      ReadQ6K(from, block);
      break;
  }
  return block;
}

}  // namespace phalanx::kernels
