// Runs CUDA kernels on the CPU, so that their very sources are tested where there is no GPU.
//
// Compile a .cu file by `g++ -std=c++17 -x c++ -I <this folder>`. Every thread of a block is a fiber; blocks run one
// after another. A fiber runs until it waits for others (__syncthreads, shuffles) or ends. The order of the fibers
// changes with cuda_on_cpu_seed(), so that a barrier that is missing shows in the results. What this does not show:
// speed, alignment faults, races between blocks, and anything that depends on the memory model of a GPU.

#pragma once

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static  // blocks run one at a time, so their threads share what is static
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorNoDevice = 100 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
typedef void* cudaStream_t;

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes = 0;
    cudaStream_t stream = nullptr;
};

inline const char* cudaGetErrorString(cudaError_t error) { return error == cudaSuccess ? "no error" : "invalid argument"; }
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t size, cudaStream_t) { return memset(to, value, size), cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = 5, cudaSuccess; }
enum cudaMemcpyKind { cudaMemcpyDeviceToDevice = 3 };
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t) {
    return memcpy(to, from, size), cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 0, cudaErrorNoDevice; }

// ---------------------------------------------------------------------------------------------------------------------
// Fibers.

namespace cuda_on_cpu {

constexpr int kMaxThreads = 1024, kStack = 64 << 10, kWarp = 32;

struct Fiber {
    jmp_buf state;
    dim3 index;
    bool done;
};

inline Fiber fibers[kMaxThreads];
inline std::vector<char> stacks;
inline jmp_buf scheduler;
inline int current = 0, started = 0;
inline std::function<void()> work;
inline uint64_t seed = 0;

inline int alive = 0;
inline int block_waiting = 0;
inline int64_t block_generation = 0;
inline int warp_alive[kMaxThreads / kWarp], warp_waiting[kMaxThreads / kWarp];
inline int64_t warp_generation[kMaxThreads / kWarp];
inline uint64_t lanes[kMaxThreads];  // values in shuffles

inline void pause() {
    const int self = current;
    if (!_setjmp(fibers[self].state)) _longjmp(scheduler, 1);
    threadIdx = fibers[self].index;
}

inline void body() {
    for (;;) {
        threadIdx = fibers[current].index;
        work();
        const int self = current;
        fibers[self].done = true;
        alive--;
        if (alive && block_waiting == alive) block_waiting = 0, block_generation++;  // the others need not wait for it
        const int warp = self / kWarp;
        if (--warp_alive[warp] && warp_waiting[warp] == warp_alive[warp]) warp_waiting[warp] = 0, warp_generation[warp]++;
        pause();
    }
}

inline void start(int i) {  // the first time: on a stack of its own; later runs go on in body()
    static ucontext_t back, context;
    getcontext(&context);
    context.uc_stack.ss_sp = stacks.data() + static_cast<size_t>(i) * kStack;
    context.uc_stack.ss_size = kStack;
    context.uc_link = nullptr;
    makecontext(&context, body, 0);
    swapcontext(&back, &context);
}

inline void run_block(int threads) {
    static int order[kMaxThreads];
    if (stacks.empty()) stacks.resize(static_cast<size_t>(kMaxThreads) * kStack);
    for (int i = 0; i < threads; i++) {
        order[i] = i;
        fibers[i].done = false;
        fibers[i].index = dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y));
    }
    alive = threads;
    block_waiting = 0;
    for (int w = 0; w * kWarp < threads; w++) {
        warp_alive[w] = std::min(kWarp, threads - w * kWarp);
        warp_waiting[w] = 0;
    }
    while (alive) {
        if (seed) {
            for (int i = threads - 1; i > 0; i--) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                std::swap(order[i], order[(seed >> 33) % (i + 1)]);
            }
        }
        for (int i = 0; i < threads; i++) {
            current = order[i];
            if (fibers[current].done || _setjmp(scheduler)) continue;
            if (current >= started) {
                // Fibers start in order of their number, so that `started` alone tells which have a stack.
                current = started++;
                start(current);
            } else {
                _longjmp(fibers[current].state, 1);
            }
        }
    }
}

inline void wait_for_block() {
    const int64_t generation = block_generation;
    if (++block_waiting == alive) {
        block_waiting = 0;
        block_generation++;
        return;
    }
    while (generation == block_generation) pause();
}

inline void wait_for_warp() {
    const int warp = current / kWarp;
    const int64_t generation = warp_generation[warp];
    if (++warp_waiting[warp] == warp_alive[warp]) {
        warp_waiting[warp] = 0;
        warp_generation[warp]++;
        return;
    }
    while (generation == warp_generation[warp]) pause();
}

template <typename T>
T shuffle(T value, int lane) {
    static_assert(sizeof(T) <= 8, "shuffles move up to 8 bytes");
    const int self = current;
    memcpy(&lanes[self], &value, sizeof(T));
    wait_for_warp();
    memcpy(&value, &lanes[self / kWarp * kWarp + lane], sizeof(T));
    wait_for_warp();
    return value;
}

}  // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::wait_for_block(); }
inline int __syncthreads_and(int predicate) {
    const int threads = blockDim.x * blockDim.y * blockDim.z;
    cuda_on_cpu::lanes[cuda_on_cpu::current] = predicate != 0;
    __syncthreads();
    const bool all = std::all_of(cuda_on_cpu::lanes, cuda_on_cpu::lanes + threads, [](uint64_t lane) { return lane != 0; });
    __syncthreads();
    return all;
}
inline void __syncwarp(unsigned = ~0u) { cuda_on_cpu::wait_for_warp(); }

inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

template <typename T>
T __ldg(const T* from) {
    return *from;
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    return cuda_on_cpu::shuffle(value, (cuda_on_cpu::current % cuda_on_cpu::kWarp) ^ mask);
}

template <typename... Expected, typename... Actual>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...), Actual&&... args) {
    const dim3 g = gridDim = config->gridDim, b = blockDim = config->blockDim;
    const bool fits = b.x * b.y * b.z <= cuda_on_cpu::kMaxThreads && g.y <= 65535 && g.z <= 65535;
    if (!fits || !g.x || !g.y || !g.z || !b.x || !b.y || !b.z) return cudaErrorInvalidValue;
    cuda_on_cpu::work = [&] { kernel(Expected(args)...); };
    for (unsigned z = 0; z < g.z; z++) {
        for (unsigned y = 0; y < g.y; y++) {
            for (unsigned x = 0; x < g.x; x++) {
                blockIdx = dim3(x, y, z);
                cuda_on_cpu::run_block(b.x * b.y * b.z);
            }
        }
    }
    return cudaSuccess;
}

extern "C" inline __attribute__((used)) void cuda_on_cpu_seed(uint64_t seed) { cuda_on_cpu::seed = seed; }
