// For small functions that kernels of GPUs share with the host.
#ifndef PHALANX_KERNELS_HOST_DEVICE_H_
#define PHALANX_KERNELS_HOST_DEVICE_H_

// Before the return type of an inline function: it is compiled for both.
#ifdef __CUDACC__
#define PHALANX_HOST_DEVICE __host__ __device__
#else
#define PHALANX_HOST_DEVICE
#endif

#endif  // PHALANX_KERNELS_HOST_DEVICE_H_
