// What the CPU kernels share: element types and the division of work.

#pragma once

#include <cstdint>
#include <cstring>
#include <functional>

#include "op_sizes.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/work_sharder.h"

namespace stylegan2 {

using tensorflow::DEVICE_CPU;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

// Element types: float, bfloat16 and half, as bits that loops can convert without a call.

template <typename T>
struct Stored;

template <>
struct Stored<float> {
    using Bits = float;
    static inline float load(float x) { return x; }
    static inline float store(float x) { return x; }
};

template <>
struct Stored<Eigen::bfloat16> {
    using Bits = uint16_t;
    static inline float load(uint16_t x) {
        uint32_t bits = static_cast<uint32_t>(x) << 16;
        float value;
        std::memcpy(&value, &bits, sizeof(value));
        return value;
    }
    static inline uint16_t store(float x) {  // to nearest even; NaN stays NaN
        uint32_t bits;
        std::memcpy(&bits, &x, sizeof(bits));
        const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded);
    }
};

template <>
struct Stored<Eigen::half> {
    using Bits = Eigen::half;
    static inline float load(Eigen::half x) { return static_cast<float>(x); }
    static inline Eigen::half store(float x) { return static_cast<Eigen::half>(x); }
};

template <typename T>
const typename Stored<T>::Bits* bits(const Tensor& tensor) {
    return reinterpret_cast<const typename Stored<T>::Bits*>(tensor.flat<T>().data());
}

template <typename T>
typename Stored<T>::Bits* bits(Tensor* tensor) {
    return reinterpret_cast<typename Stored<T>::Bits*>(tensor->flat<T>().data());
}

// Calls work(begin, end) for parts of [0, total), in the threads of TensorFlow. cost: cycles of one of them, about.
inline void parallel_for(OpKernelContext* context, int64_t total, int64_t cost,
                         std::function<void(int64_t, int64_t)> work) {
    const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
    tensorflow::Shard(workers.num_threads, workers.workers, total, cost, work);
}

}  // namespace stylegan2
