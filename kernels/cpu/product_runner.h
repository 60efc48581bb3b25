// Products of a whole step with the weights of a layer on a thread team: how they are shared out,
// and the memory that they work in.
#ifndef PHALANX_KERNELS_CPU_PRODUCT_RUNNER_H_
#define PHALANX_KERNELS_CPU_PRODUCT_RUNNER_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/linear_format.h"
#include "kernels/cpu/packed_linear.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/op_list.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

// Ends the process, naming the op, if it takes more bytes of workspace than are reserved.
void CheckReserved(Op op, size_t bytes, size_t reserved);

class ProductRunner {
 public:
  // `quantized` is the format of quantized weights. All outlive this.
  ProductRunner(const KernelSet& kernels, const LinearFormat* quantized, ThreadTeam* team)
      : kernels_(kernels), quantized_(*quantized), team_(*team) {}

  // The memory that products within `limits` work in.
  size_t ScratchBytes(const WorkspaceLimits& limits) const;
  // To be called before a product that works in memory. `scratch` has ScratchBytes, is aligned to
  // kTensorAlignment and outlives this.
  void Reserve(const WorkspaceLimits& limits, std::byte* scratch);

  // As the ops of Backend. They end the process, naming the op, beyond the limits.
  void Linear(const Tensor& x, const CpuLinear& w, const Tensor& bias, const Tensor& out);
  void LinearAdd(const Tensor& x, const CpuLinear& w, const Tensor& residual);
  void GatedLinear(const Tensor& x, const CpuGatedLinear& w, const Tensor& out);

 private:
  // One product of LinearAdd, or one of the two of GatedLinear.
  float* Product(Op op, int64_t elements);
  // Brings the inputs of a product into the form that its format wants.
  void Prepare(Op op, LinearTask& task);

  // Of the most inputs that a product may have.
  size_t PreparedBytes(const WorkspaceLimits& limits) const;

  const KernelSet& kernels_;
  const LinearFormat& quantized_;
  ThreadTeam& team_;
  std::byte* scratch_ = nullptr;  // Prepared inputs, then a product.
  size_t prepared_bytes_ = 0;
  size_t product_bytes_ = 0;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_PRODUCT_RUNNER_H_
