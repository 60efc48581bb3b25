// The list of ops in the contract of ops.h, for everything that has to cover all of them:
//  * op_list_test fails when a virtual method of Backend or Stream is missing here;
//  * kernels/testing's op_suite_test fails when an op has no test that calls it on every backend;
//  * kernels/bench's op_entries_test fails when an op has no benchmark that calls it.
#ifndef PHALANX_KERNELS_OP_LIST_H_
#define PHALANX_KERNELS_OP_LIST_H_

namespace phalanx::kernels {

// Calls OP(Name) for each op, in the order of ops.h; Name is the method of Backend.
#define PHALANX_FOR_EACH_OP(OP) \
  OP(UpdateBlockTables)         \
  OP(Embed)                     \
  OP(RmsNorm)                   \
  OP(AddRmsNorm)                \
  OP(Linear)                    \
  OP(LinearAdd)                 \
  OP(GatedLinear)               \
  OP(NormLinear)                \
  OP(NormGatedLinear)           \
  OP(RopeAngles)                \
  OP(RopeAndWriteKv)            \
  OP(PagedAttention)            \
  OP(RopeAttention)             \
  OP(GatherRows)                \
  OP(AdjustLogits)              \
  OP(Sample)                    \
  OP(StoreLastTokens)           \
  OP(TokenLogProbs)             \
  OP(RowMaxima)                 \
  OP(CutSums)                   \
  OP(NarrowCut)                 \
  OP(TypicalSums)               \
  OP(KeptWeights)               \
  OP(DrawTokens)                \
  OP(TakeTokens)                \
  OP(LogProbTerms)              \
  OP(CombineLogProbs)           \
  OP(TopLogits)

enum class Op {
#define PHALANX_OP(name) k##name,
  PHALANX_FOR_EACH_OP(PHALANX_OP)
#undef PHALANX_OP
};

inline constexpr Op kAllOps[] = {
#define PHALANX_OP(name) Op::k##name,
    PHALANX_FOR_EACH_OP(PHALANX_OP)
#undef PHALANX_OP
};

// The method's name, for example "Embed".
constexpr const char* OpName(Op op) {
  switch (op) {
#define PHALANX_OP(name) \
  case Op::k##name:      \
    return #name;
    PHALANX_FOR_EACH_OP(PHALANX_OP)
#undef PHALANX_OP
  }
  return "unknown";
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_OP_LIST_H_
