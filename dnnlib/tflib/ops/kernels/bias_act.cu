// Bias, activation, gain and clamp in one pass; the same file serves the first and the second derivative.
//
// Each thread takes 16 bytes of neighbours where they lie in one row of the bias or side by side along it, else single
// elements. The division that finds the bias has 32 bits unless the tensor is too large for that.

#include "kernel_common.h"

namespace {

template <typename T>
struct Params {
    const T *x, *v;
    const float* b;
    T* y;
    int64_t size, inner, c;
    Pointwise f;
};

template <typename T, typename Index, int V, int Order, bool Smooth>
__global__ void __launch_bounds__(kThreads) bias_act_kernel(Params<T> p) {
    const Index inner = p.inner, c = p.c;
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x * V;
    for (int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * V; i < p.size; i += stride) {
        float x[V], v[V], b[V] = {}, y[V];
        load(p.x + i, x);
        if (Order > 0) load(p.v + i, v);
        if (p.b) {
            if (inner == 1) {
                load_parameters(p.b + static_cast<Index>(i) % c, b);
            } else {
                const float same = p.b[static_cast<Index>(i) / inner % c];
#pragma unroll
                for (int j = 0; j < V; j++) b[j] = same;
            }
        }
#pragma unroll
        for (int j = 0; j < V; j++) {
            const float u = x[j] + b[j];
            if (Order == 0) y[j] = value<Smooth>(p.f, u);
            if (Order == 1) y[j] = v[j] * derivative<Smooth>(p.f, u);
            if (Order == 2) y[j] = v[j] * derivative<Smooth, true>(p.f, u);
        }
        store(y, p.y + i);
    }
}

template <typename T, int Order, bool Smooth>
cudaError_t run(const BiasActArgs& a, void* stream) {
    constexpr int V = kWide<T>;
    Params<T> p = {};
    p.x = static_cast<const T*>(a.x), p.v = static_cast<const T*>(a.v), p.b = a.b, p.y = static_cast<T*>(a.y);
    p.size = a.size, p.inner = a.inner, p.c = a.c, p.f = make_pointwise(a.f);
    const bool rows = a.inner == 1 ? a.c % V == 0 && is_aligned(a.b) : a.inner % V == 0;
    const bool wide = (!a.b || rows) && a.size % V == 0 && is_aligned(a.x) && is_aligned(a.y) && (Order == 0 || is_aligned(a.v));
    const bool large = is_large(a.size);
    auto kernel = wide ? (large ? bias_act_kernel<T, uint64_t, V, Order, Smooth> : bias_act_kernel<T, uint32_t, V, Order, Smooth>)
                       : (large ? bias_act_kernel<T, uint64_t, 1, Order, Smooth> : bias_act_kernel<T, uint32_t, 1, Order, Smooth>);
    return launch(kernel, num_blocks(a.size, kThreads * (wide ? V : 1)), kThreads, p, stream);
}

}  // namespace

extern "C" int stylegan2_bias_act(const BiasActArgs* args, void* stream) {
    if (args->size == 0) return cudaSuccess;
    return with_type(args->dtype, [&](auto* type) {
        using T = typename std::remove_pointer<decltype(type)>::type;
        const bool smooth = is_smooth(args->f);
        switch (args->order) {
            case 0: return smooth ? run<T, 0, true>(*args, stream) : run<T, 0, false>(*args, stream);
            case 1: return smooth ? run<T, 1, true>(*args, stream) : run<T, 1, false>(*args, stream);
            case 2: return smooth ? run<T, 2, true>(*args, stream) : run<T, 2, false>(*args, stream);
            default: return cudaErrorInvalidValue;
        }
    });
}

extern "C" const char* stylegan2_cuda_error(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

extern "C" const char* stylegan2_cuda_problem(void) {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
