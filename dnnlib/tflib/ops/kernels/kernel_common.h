// What the CUDA kernels share: image types, 16-byte vectors, the pointwise function, launching.

#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>

#include <type_traits>

#include "kernels.h"

// ---------------------------------------------------------------------------------------------------------------------
// Image types.

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

__device__ __forceinline__ void from_float(float x, float* y) { *y = x; }
__device__ __forceinline__ void from_float(float x, __half* y) { *y = __float2half_rn(x); }
__device__ __forceinline__ void from_float(float x, __nv_bfloat16* y) { *y = __float2bfloat16_rn(x); }

// Two neighbours, which the hardware rounds by one instruction. y is aligned to both.
__device__ __forceinline__ void from_floats(float a, float b, float* y) { y[0] = a, y[1] = b; }
__device__ __forceinline__ void from_floats(float a, float b, __half* y) { *reinterpret_cast<__half2*>(y) = __floats2half2_rn(a, b); }
__device__ __forceinline__ void from_floats(float a, float b, __nv_bfloat16* y) {
    *reinterpret_cast<__nv_bfloat162*>(y) = __floats2bfloat162_rn(a, b);
}

// V neighbouring elements, moved by one instruction if they make up 16 bytes.
template <typename T, int V>
struct alignas(sizeof(T) * V) Vec {
    T v[V];
};

template <typename T>
constexpr int kWide = 16 / sizeof(T);  // elements in 16 bytes

template <int Bytes>
struct BitsOf;
template <>
struct BitsOf<2> { using type = unsigned short; };
template <>
struct BitsOf<4> { using type = unsigned; };
template <>
struct BitsOf<8> { using type = unsigned long long; };
template <>
struct BitsOf<16> { using type = uint4; };

template <typename T, int V>
__device__ __forceinline__ void load(const T* from, float (&to)[V]) {
    const Vec<T, V> vec = *reinterpret_cast<const Vec<T, V>*>(from);
#pragma unroll
    for (int j = 0; j < V; j++) to[j] = to_float(vec.v[j]);
}

// As they are, of a tensor that the kernel does not write.
template <typename T, int V>
__device__ __forceinline__ Vec<T, V> load_vec(const T* from) {
    using Bits = typename BitsOf<sizeof(T) * V>::type;
    const Bits bits = __ldg(reinterpret_cast<const Bits*>(from));
    return *reinterpret_cast<const Vec<T, V>*>(&bits);
}

// The same of a tensor in whose place the result may be: each thread loads before it stores.
template <typename T, int V>
__device__ __forceinline__ Vec<T, V> load_before_store(const T* from) {
    using Bits = typename BitsOf<sizeof(T) * V>::type;
    const Bits bits = *reinterpret_cast<const Bits*>(from);
    return *reinterpret_cast<const Vec<T, V>*>(&bits);
}

template <typename T, int V>
__device__ __forceinline__ void clear_unless(bool condition, Vec<T, V>& vec) {
    using Word = typename BitsOf<(sizeof(T) * V < 4 ? sizeof(T) * V : 4)>::type;
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(vec) / sizeof(Word)); i++) {
        Word* const word = reinterpret_cast<Word*>(vec.v) + i;
        *word = condition ? *word : 0;
    }
}

// Element j of a vector, a number known when compiling. Two elements of 16 bits stay in one register until they are used.
template <typename T, int V>
__device__ __forceinline__ float element(const Vec<T, V>& vec, int j) {
    if constexpr (V > 1 && std::is_same<T, __half>::value) {
        const __half2 pair = reinterpret_cast<const __half2*>(vec.v)[j / 2];
        return j % 2 ? __high2float(pair) : __low2float(pair);
    } else if constexpr (V > 1 && std::is_same<T, __nv_bfloat16>::value) {
        const unsigned pair = reinterpret_cast<const unsigned*>(vec.v)[j / 2];
        return __uint_as_float(j % 2 ? pair & 0xffff0000u : pair << 16);
    } else {
        return to_float(vec.v[j]);
    }
}

template <typename T, int V>
__device__ __forceinline__ typename BitsOf<sizeof(T) * V>::type rounded(const float (&from)[V]) {
    Vec<T, V> vec;
#pragma unroll
    for (int j = 0; j + 1 < V; j += 2) from_floats(from[j], from[j + 1], &vec.v[j]);
    if (V % 2) from_float(from[V - 1], &vec.v[V - 1]);
    return *reinterpret_cast<const typename BitsOf<sizeof(T) * V>::type*>(&vec);
}

template <typename T, int V>
__device__ __forceinline__ void store(const float (&from)[V], T* to) {
    *reinterpret_cast<typename BitsOf<sizeof(T) * V>::type*>(to) = rounded<T, V>(from);
}

// The same by one instruction for certain: compilers take 16 bytes apart, and do not always put them together again.
template <typename T, int V>
__device__ __forceinline__ void store_whole(const float (&from)[V], T* to) {
#ifdef __CUDA_ARCH__
    if constexpr (sizeof(T) * V == 16) {
        const uint4 v = rounded<T, V>(from);
        asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
        return;
    }
#endif
    store(from, to);
}

// Parameters are float32: as many of them as there are elements in a vector of images.
template <int V>
__device__ __forceinline__ void load_parameters(const float* from, float (&to)[V]) {
    constexpr int kStep = V < 4 ? V : 4;
#pragma unroll
    for (int i = 0; i < V; i += kStep) {
        const Vec<float, kStep> vec = *reinterpret_cast<const Vec<float, kStep>*>(from + i);
#pragma unroll
        for (int j = 0; j < kStep; j++) to[i + j] = vec.v[j];
    }
}

template <int V>
__device__ __forceinline__ void store_parameters(const float (&from)[V], float* to) {
    constexpr int kStep = V < 4 ? V : 4;
#pragma unroll
    for (int i = 0; i < V; i += kStep) {
        Vec<float, kStep> vec;
#pragma unroll
        for (int j = 0; j < kStep; j++) vec.v[j] = from[i + j];
        *reinterpret_cast<Vec<float, kStep>*>(to + i) = vec;
    }
}

inline bool is_aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// ---------------------------------------------------------------------------------------------------------------------
// F, F' and F''. Linear, relu and lrelu are one function, of slope 1, 0 or alpha below 0 (Smooth = false); they are what
// the networks use most. The others are told apart at run time, by a branch that all threads take alike.

struct Pointwise {
    int act;
    float slope, gain, clamp;
    float gain_below;  // of u < 0, unless smooth
};

inline bool is_smooth(const PointwiseArgs& f) { return f.act > kLrelu; }

inline Pointwise make_pointwise(const PointwiseArgs& f) {
    const float slope = f.act == kLinear ? 1.0f : f.act == kRelu ? 0.0f : f.alpha;
    return {f.act, slope, f.gain, f.clamp < 0 ? INFINITY : f.clamp, f.gain * slope};
}

struct Derivatives {
    float y, d1, d2;  // of act
};

__device__ __forceinline__ Derivatives smooth_activation(int act, float u) {
    const float kScale = 1.0507009873554805f, kAlpha = 1.6732632423543773f;  // of selu
    switch (act) {
        case kTanh: {
            const float y = tanhf(u), d1 = 1 - y * y;
            return {y, d1, -2 * y * d1};
        }
        case kSigmoid: {
            const float y = 1 / (1 + expf(-u)), d1 = y * (1 - y);
            return {y, d1, d1 * (1 - 2 * y)};
        }
        case kElu: {
            if (u > 0) return {u, 1, 0};
            const float e = expf(u);
            return {expm1f(u), e, e};
        }
        case kSelu: {
            if (u > 0) return {kScale * u, kScale, 0};
            const float e = kScale * kAlpha * expf(u);
            return {kScale * kAlpha * expm1f(u), e, e};
        }
        case kSoftplus: {
            const float s = 1 / (1 + expf(-u));
            return {fmaxf(u, 0) + log1pf(expf(-fabsf(u))), s, s * (1 - s)};
        }
        default: {  // kSwish
            const float s = 1 / (1 + expf(-u));
            return {s * u, s * (1 + u * (1 - s)), s * (1 - s) * (2 + u * (1 - 2 * s))};
        }
    }
}

// F(u); what is not a number stays so. Selections, not branches, which neighbours would take differently.
template <bool Smooth>
__device__ __forceinline__ float value(const Pointwise& f, float u) {
    float y = f.gain * (Smooth ? smooth_activation(f.act, u).y : u > 0 ? u : f.slope * u);
    if (!Smooth) y = (f.slope == 0) & (u < 0) ? 0 : y;  // -inf * 0 would be NaN
    y = y > f.clamp ? f.clamp : y;
    return y < -f.clamp ? -f.clamp : y;
}

// F'(u), or F''(u) if Second.
template <bool Smooth, bool Second = false>
__device__ __forceinline__ float derivative(const Pointwise& f, float u) {
    if (!Smooth) {
        const float d = u > 0 ? f.gain : f.gain_below;
        return Second || fabsf(d * u) >= f.clamp ? 0 : d;
    }
    const Derivatives d = smooth_activation(f.act, u);
    return fabsf(f.gain * d.y) >= f.clamp ? 0 : f.gain * (Second ? d.d2 : d.d1);
}

// ---------------------------------------------------------------------------------------------------------------------
// Launching.

constexpr int kThreads = 256;  // of a block

template <typename Params>
cudaError_t launch(void (*kernel)(Params), dim3 blocks, dim3 threads, const Params& params, void* stream) {
    cudaLaunchConfig_t config = {};
    config.gridDim = blocks;
    config.blockDim = threads;
    config.stream = static_cast<cudaStream_t>(stream);
    return cudaLaunchKernelEx(&config, kernel, params);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Tests lower these two, to reach 64-bit indices and loops over blocks with small tensors.
#ifndef STYLEGAN2_LARGE
#define STYLEGAN2_LARGE UINT32_MAX
#endif
#ifndef STYLEGAN2_MAX_BLOCKS
#define STYLEGAN2_MAX_BLOCKS INT32_MAX
#endif

// Whether 32 bits are too few to number things.
inline bool is_large(int64_t size) { return size > STYLEGAN2_LARGE; }

// Blocks for a number of pieces of work; kernels loop where the grid has no room for all.
inline unsigned num_blocks(int64_t pieces, int64_t per_block) {
    const int64_t blocks = ceil_div(pieces, per_block);
    return static_cast<unsigned>(blocks < STYLEGAN2_MAX_BLOCKS ? blocks : STYLEGAN2_MAX_BLOCKS);
}

// Multiprocessors of the GPU, asked for once, so that whoever cuts the work by it cuts it always alike.
inline int64_t processors() {
    static const int count = [] {
        int device = 0, found = 0;
        const bool known = cudaGetDevice(&device) == cudaSuccess &&
                           cudaDeviceGetAttribute(&found, cudaDevAttrMultiProcessorCount, device) == cudaSuccess;
        return known && found > 0 ? found : 128;
    }();
    return count;
}

// Calls func with a null pointer of the image type.
template <typename Func>
cudaError_t with_type(int dtype, Func func) {
    switch (dtype) {
        case kFloat32: return func(static_cast<float*>(nullptr));
        case kFloat16: return func(static_cast<__half*>(nullptr));
        case kBFloat16: return func(static_cast<__nv_bfloat16*>(nullptr));
        default: return cudaErrorInvalidValue;
    }
}
