// Updates of all variables of a network at once: Adam, the moving average; and keys of random numbers.
//
// A launch serves as many tensors as fit into the parameters of a kernel (4 kB). A block does one part of one tensor, which
// it finds by bisection. Nothing waits for the host: whether all gradients are finite stays on the device.

#include <float.h>

#include "kernel_common.h"

namespace {

constexpr int kTensors = 64;             // of one launch
constexpr int kPart = kThreads * 4 * 4;  // elements of one block

__device__ __forceinline__ bool is_wide(const AdamTensor& t) {
    const auto bits = reinterpret_cast<uintptr_t>(t.var) | reinterpret_cast<uintptr_t>(t.m) |
                      reinterpret_cast<uintptr_t>(t.v) | reinterpret_cast<uintptr_t>(t.grad);
    return bits % 16 == 0;
}

__device__ __forceinline__ bool is_wide(const AverageTensor& t) {
    return (reinterpret_cast<uintptr_t>(t.average) | reinterpret_cast<uintptr_t>(t.value)) % 16 == 0;
}

template <typename Tensor>
struct Table {
    Tensor tensors[kTensors];
    uint32_t first[kTensors + 1];  // block of each tensor; what follows the last of them
    int32_t count;
};

// Calls run(table, blocks) for tensors that have elements, a table at a time.
template <typename Tensor, typename Run>
cudaError_t for_tables(const Tensor* tensors, int64_t count, Run run) {
    Table<Tensor> table;
    for (int64_t i = 0; i < count;) {
        uint32_t blocks = 0;
        table.count = 0;
        for (; i < count && table.count < kTensors; i++) {
            if (tensors[i].size == 0) continue;
            table.tensors[table.count] = tensors[i];
            table.first[table.count++] = blocks;
            blocks += static_cast<uint32_t>(ceil_div(tensors[i].size, kPart));
        }
        table.first[table.count] = blocks;
        if (blocks == 0) continue;
        const cudaError_t error = run(table, blocks);
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}

// Calls work(tensor, i, v) for the elements of this block's part: vectors of 4 from i on, then what is left, one by one.
template <typename Tensor, typename Wide, typename Single>
__device__ __forceinline__ void for_part(const Table<Tensor>& table, Wide wide, Single single) {
    int low = 0, high = table.count - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (table.first[middle] <= blockIdx.x) low = middle;
        else high = middle - 1;
    }
    const Tensor& tensor = table.tensors[low];
    const int64_t begin = static_cast<int64_t>(blockIdx.x - table.first[low]) * kPart;
    const int64_t end = tensor.size - begin < kPart ? tensor.size : begin + kPart;
    const int64_t vectors = is_wide(tensor) ? begin + (end - begin) / 4 * 4 : begin;
    for (int64_t i = begin + threadIdx.x * 4; i < vectors; i += kThreads * 4) wide(tensor, i);
    for (int64_t i = vectors + threadIdx.x; i < end; i += kThreads) single(tensor, i);
}

// ---------------------------------------------------------------------------------------------------------------------
// Adam.

struct FiniteParams {
    Table<AdamTensor> table;
    uint8_t* finite;
};

__global__ void __launch_bounds__(kThreads) finite_kernel(FiniteParams p) {
    float sum = 0;
    for_part(
        p.table,
        [&](const AdamTensor& t, int64_t i) {
            float g[4];
            load(t.grad + i, g);
            sum += g[0] * g[0] + g[1] * g[1] + g[2] * g[2] + g[3] * g[3];
        },
        [&](const AdamTensor& t, int64_t i) { sum += t.grad[i] * t.grad[i]; });
    if (!(sum <= FLT_MAX)) *p.finite = 0;  // all that write, write the same
}

struct AdamParams {
    Table<AdamTensor> table;
    const uint8_t* finite;
    const float *beta1_power, *beta2_power;
    float lr, beta1, beta2, epsilon;
};

__global__ void __launch_bounds__(kThreads) adam_kernel(AdamParams p) {
    if (!*p.finite) return;
    const float rate = p.lr * sqrtf(1 - *p.beta2_power) / (1 - *p.beta1_power), new1 = 1 - p.beta1, new2 = 1 - p.beta2;
    const float epsilon = p.epsilon;
    auto step = [&](float g, float* var, float* m, float* v) {
        *m += (g - *m) * new1;
        *v += (g * g - *v) * new2;
        *var -= *m * rate / (sqrtf(*v) + epsilon);
    };
    for_part(
        p.table,
        [&](const AdamTensor& t, int64_t i) {
            float g[4], var[4], m[4], v[4];
            load(t.grad + i, g), load(t.var + i, var), load(t.m + i, m), load(t.v + i, v);
#pragma unroll
            for (int j = 0; j < 4; j++) step(g[j], &var[j], &m[j], &v[j]);
            store(var, t.var + i), store(m, t.m + i), store(v, t.v + i);
        },
        [&](const AdamTensor& t, int64_t i) { step(t.grad[i], t.var + i, t.m + i, t.v + i); });
}

struct PowerParams {
    const uint8_t* finite;
    float *beta1_power, *beta2_power;
    float beta1, beta2;
};

__global__ void power_kernel(PowerParams p) {
    if (!*p.finite) return;
    *p.beta1_power *= p.beta1;
    *p.beta2_power *= p.beta2;
}

// ---------------------------------------------------------------------------------------------------------------------
// The moving average.

struct AverageParams {
    Table<AverageTensor> table;
    float weight;
};

__global__ void __launch_bounds__(kThreads) average_kernel(AverageParams p) {
    const float weight = p.weight;
    for_part(
        p.table,
        [&](const AverageTensor& t, int64_t i) {
            float average[4], value[4];
            load(t.average + i, average), load(t.value + i, value);
#pragma unroll
            for (int j = 0; j < 4; j++) average[j] = value[j] + (average[j] - value[j]) * weight;
            store(average, t.average + i);
        },
        [&](const AverageTensor& t, int64_t i) { t.average[i] = t.value[i] + (t.average[i] - t.value[i]) * weight; });
}

// ---------------------------------------------------------------------------------------------------------------------
// Numbers of the host, as parameters of a kernel: unlike a copy, it waits for nothing, and nothing waits for it.

__global__ void random_key_kernel(RandomKeyArgs p) {
    *p.key = p.key_value;
    p.counter[0] = 0, p.counter[1] = p.counter_value;
}

}  // namespace

extern "C" int stylegan2_adam(const AdamArgs* a, void* stream) {
    cudaError_t error = cudaMemsetAsync(a->finite, 1, 1, static_cast<cudaStream_t>(stream));
    if (error != cudaSuccess) return error;
    error = for_tables(a->tensors, a->count, [&](const Table<AdamTensor>& table, unsigned blocks) {
        return launch(finite_kernel, blocks, kThreads, FiniteParams{table, a->finite}, stream);
    });
    if (error != cudaSuccess) return error;
    error = for_tables(a->tensors, a->count, [&](const Table<AdamTensor>& table, unsigned blocks) {
        const AdamParams p = {table, a->finite, a->beta1_power, a->beta2_power, a->lr, a->beta1, a->beta2, a->epsilon};
        return launch(adam_kernel, blocks, kThreads, p, stream);
    });
    if (error != cudaSuccess) return error;
    const PowerParams p = {a->finite, a->beta1_power, a->beta2_power, a->beta1, a->beta2};
    return launch(power_kernel, 1, 1, p, stream);
}

extern "C" int stylegan2_average(const AverageArgs* a, void* stream) {
    return for_tables(a->tensors, a->count, [&](const Table<AverageTensor>& table, unsigned blocks) {
        return launch(average_kernel, blocks, kThreads, AverageParams{table, a->weight}, stream);
    });
}

extern "C" int stylegan2_copy(const CopyArgs* a, void* stream) {
    return cudaMemcpyAsync(a->to, a->from, a->size, cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(stream));
}

extern "C" int stylegan2_random_key(const RandomKeyArgs* a, void* stream) {
    return launch(random_key_kernel, 1, 1, *a, stream);
}
