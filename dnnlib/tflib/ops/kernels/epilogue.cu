// The epilogue of a layer of the synthesis network, F(x * scale + noise + b), and its gradient: one pass each.
//
// The gradient sums over pixels (dscale, db) and over channels (dnoise) in the same pass, without atomic operations:
// - NHWC: lanes lie along the channels and blocks walk over the pixels, so sums over pixels stay in registers until a
//   block ends, and sums over channels are taken among the lanes of a warp. There are as many blocks as run at a time.
// - NCHW: lanes lie along pixels and warps walk over the channels: the other way round.
// Blocks leave rows of partial sums in the workspace, and one more launch adds all of them, always in one order, so that
// results repeat exactly on a GPU. dx may be where dy is: each thread loads before it stores.

#include "epilogue_common.h"

namespace {

// ---------------------------------------------------------------------------------------------------------------------
// Forward.

template <typename T>
struct ForwardParams {
    const T* x;
    T* y;
    int64_t size;
    Parameters p;
};

template <typename T, typename Index, int V, bool ChannelsLast, bool Smooth>
__global__ void __launch_bounds__(kThreads) forward_kernel(ForwardParams<T> a) {
    const Parameters& p = a.p;
    const Index c = p.c, pixels = p.pixels;
    const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * V;
    for (int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * V; i < a.size; i += stride) {
        float x[V], u[V], scale[V], noise[V] = {}, b[V] = {};
        load(a.x + i, x);
        const Index row = static_cast<Index>(i) / (ChannelsLast ? c : pixels);  // a pixel, or a channel
        const Index column = static_cast<Index>(i) - row * (ChannelsLast ? c : pixels);
        const Index n = row / (ChannelsLast ? pixels : c), in_sample = row - n * (ChannelsLast ? pixels : c);
        const Index map = ChannelsLast ? n * c + column : row, channel = ChannelsLast ? column : in_sample;
        const Index pixel = (ChannelsLast ? in_sample : column) + (p.one_noise ? 0 : n * pixels);
        if (ChannelsLast) {
            const float same = p.noise ? p.noise[pixel] : 0;
#pragma unroll
            for (int j = 0; j < V; j++) scale[j] = 1, noise[j] = same;
            if (p.scale) load_parameters(p.scale + map, scale);
            if (p.b) load_parameters(p.b + channel, b);
        } else {
            const float same_scale = p.scale ? p.scale[map] : 1, same_b = p.b ? p.b[channel] : 0;
#pragma unroll
            for (int j = 0; j < V; j++) scale[j] = same_scale, b[j] = same_b;
            if (p.noise) load_parameters(p.noise + pixel, noise);
        }
#pragma unroll
        for (int j = 0; j < V; j++) u[j] = value<Smooth>(p.f, x[j] * scale[j] + noise[j] + b[j]);
        store(u, a.y + i);
    }
}

template <typename T, int V, bool ChannelsLast, bool Smooth>
cudaError_t run_forward(const EpilogueArgs& a, void* stream) {
    const int64_t size = a.n * a.c * a.pixels;
    const ForwardParams<T> p = {static_cast<const T*>(a.x), static_cast<T*>(a.y), size, make_parameters(a)};
    auto kernel = is_large(size) ? forward_kernel<T, uint64_t, V, ChannelsLast, Smooth>
                                    : forward_kernel<T, uint32_t, V, ChannelsLast, Smooth>;
    return launch(kernel, num_blocks(size, kThreads * V), kThreads, p, stream);
}

template <typename T, bool Smooth>
cudaError_t forward(const EpilogueArgs& a, void* stream) {
    constexpr int V = kWide<T>;
    const bool wide = is_wide(a, V) && is_aligned(a.y);
    if (a.channels_last) return wide ? run_forward<T, V, true, Smooth>(a, stream) : run_forward<T, 1, true, Smooth>(a, stream);
    return wide ? run_forward<T, V, false, Smooth>(a, stream) : run_forward<T, 1, false, Smooth>(a, stream);
}

// ---------------------------------------------------------------------------------------------------------------------
// Gradient.

// Elements of a vector: more would take more registers than let half of an SM's threads run. Vectors of x, and as many
// of dy, that a thread loads before it computes: 32 warps of them are 32 to 64 KiB on their way on each SM.
constexpr int kVector = 4;
__host__ __device__ constexpr int ahead(int item, int V, bool smooth, bool channels_last) {
    return smooth ? 1 : V == 1 ? 4 : channels_last && item == 2 ? 3 : 2;
}
constexpr int kResident = 4;  // blocks that fit on an SM

// How the work is cut.
struct Cut {
    int64_t shares;  // of the pixels of a sample; a block takes every `shares`-th turn (NHWC), or one (NCHW)
    int64_t slabs;   // of the channels
    int64_t slab;    // channels in a slab
    int lanes;       // NHWC: threads along the channels of a slab
    int64_t rows;    // of partial sums of dnoise
};

template <typename T>
struct GradParams {
    const T *x, *dy;
    T* dx;
    float *sum_dux, *sum_du, *sum_noise;  // partial sums; null: not wanted
    int64_t first;                        // sample of this launch
    int64_t period;                       // NHWC: channels of scale and b, which repeat
    Cut cut;
    Parameters p;
};

template <int V>
struct Sums {
    float dux[V], du[V];
};

// du of an element.
template <bool Smooth>
__device__ __forceinline__ float slope(const Pointwise& f, float dy, float x, float scale, float offset) {
    return dy * derivative<Smooth>(f, x * scale + offset);
}

// NHWC. Lanes lie along vectors of V channels, as many as a slab has; what is left of a block lies along the pixels. With
// more than 32 lanes each warp of a pixel leaves a row of partial sums of dnoise.
template <typename T, int V, bool Smooth>
__global__ void __launch_bounds__(kThreads, Smooth ? 1 : kResident) nhwc_grad_kernel(GradParams<T> a) {
    constexpr int U = ahead(sizeof(T), V, Smooth, true);
    const Parameters& p = a.p;
    const int lanes = a.cut.lanes, groups = kThreads / lanes, group = threadIdx.x / lanes, lane = threadIdx.x % lanes;
    const int64_t share = blockIdx.x, n = a.first + blockIdx.z, channel = blockIdx.y * a.cut.slab + lane * V;
    const bool active = channel < p.c;
    float scale[V], b[V] = {}, sum_dux[V] = {}, sum_du[V] = {};
#pragma unroll
    for (int j = 0; j < V; j++) scale[j] = 1;
    if (active && a.period == p.c) {
        if (p.scale) load_parameters(p.scale + n * p.c + channel, scale);
        if (p.b) load_parameters(p.b + channel, b);
    } else if (active) {
#pragma unroll
        for (int j = 0; j < V; j++) {
            const int64_t at = (channel + j) % a.period;
            if (p.scale) scale[j] = p.scale[n * a.period + at];
            if (p.b) b[j] = p.b[at];
        }
    }
    // Outside, what is there anyway is loaded, and dy taken for 0: loads without branches go out together.
    const int c = static_cast<int>(p.c), column = active ? static_cast<int>(channel) : 0;
    const int64_t turn = groups * U, noise_at = p.one_noise ? 0 : n * p.pixels;
    const int parts = lanes > 32 ? lanes / 32 : 1;  // of a pixel
    float* const sum_noise = a.sum_noise + ((blockIdx.y * parts + lane / 32) * p.n + n) * p.pixels;
    for (int64_t first = share * turn; first < p.pixels; first += a.cut.shares * turn) {
        const int end = static_cast<int>(p.pixels - first < turn ? p.pixels - first : turn);
        const int64_t at = (n * p.pixels + first) * p.c;
        int pixel[U], offset[U];
        Vec<T, V> x[U], dy[U];
        float noise[U] = {}, sum[U] = {};
#pragma unroll
        for (int u = 0; u < U; u++) {
            pixel[u] = u * groups + group;
            offset[u] = (pixel[u] < end ? pixel[u] : end - 1) * c + column;
            x[u] = load_vec<T, V>(a.x + at + offset[u]);
            dy[u] = load_before_store<T, V>(a.dy + at + offset[u]);
        }
        if (p.noise) {
#pragma unroll
            for (int u = 0; u < U; u++) noise[u] = p.noise[noise_at + first + (pixel[u] < end ? pixel[u] : end - 1)];
        }
#pragma unroll
        for (int u = 0; u < U; u++) {
            const bool inside = active && pixel[u] < end;
            clear_unless(inside, dy[u]);
            float dx[V];
#pragma unroll
            for (int j = 0; j < V; j++) {
                const float of_x = element(x[u], j);
                const float du = slope<Smooth>(p.f, element(dy[u], j), of_x, scale[j], noise[u] + b[j]);
                dx[j] = du * scale[j];
                sum[u] += du;
                sum_du[j] += du;
                sum_dux[j] += du * of_x;
            }
            if (inside) store_whole(dx, a.dx + at + offset[u]);
        }
        if (!a.sum_noise) continue;
#pragma unroll
        for (int u = 0; u < U; u++) {
            sum[u] = sum_lanes(sum[u], lanes);
            if (pixel[u] < end && lane % 32 == 0) sum_noise[first + pixel[u]] = sum[u];
        }
    }

    // Sums of the groups of a block.
    __shared__ __align__(16) float shared[2][kWarps][32 * V];
    if (!a.sum_dux && !a.sum_du) return;
    if (lanes < 32) {
#pragma unroll
        for (int j = 0; j < V; j++) sum_dux[j] = sum_groups(sum_dux[j], lanes), sum_du[j] = sum_groups(sum_du[j], lanes);
    }
    store_parameters(sum_dux, &shared[0][threadIdx.x / 32][threadIdx.x % 32 * V]);
    store_parameters(sum_du, &shared[1][threadIdx.x / 32][threadIdx.x % 32 * V]);
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * V * lanes; i += kThreads) {
        const int which = i / (V * lanes), of_slab = i % (V * lanes);
        const int64_t to_channel = blockIdx.y * a.cut.slab + of_slab;
        float* const to = which ? a.sum_du : a.sum_dux;
        if (to_channel >= p.c || !to) continue;
        float sum = 0;
        for (int w = of_slab / (32 * V); w < kWarps; w += parts) sum += shared[which][w][of_slab % (32 * V)];
        to[(n * a.cut.shares + share) * p.c + to_channel] = sum;
    }
}

// NCHW. A share is 32 vectors of V pixels; lanes lie along it, and the warps of a block take turns at the channels of a
// slab, U of them at once.
template <typename T, int V, bool Smooth>
__global__ void __launch_bounds__(kThreads, Smooth ? 1 : kResident) nchw_grad_kernel(GradParams<T> a) {
    constexpr int U = ahead(sizeof(T), V, Smooth, false);
    const Parameters& p = a.p;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int64_t share = blockIdx.x, n = a.first + blockIdx.z, pixel = (share * 32 + lane) * V;
    const bool active = pixel < p.pixels;
    float noise[V] = {}, sum_noise[V] = {};
    if (p.noise && active) load_parameters(p.noise + pixel + (p.one_noise ? 0 : n * p.pixels), noise);
    const int64_t channel0 = blockIdx.y * a.cut.slab;
    const int64_t channel1 = channel0 + a.cut.slab < p.c ? channel0 + a.cut.slab : p.c;
    for (int64_t channel = channel0 + warp * U; channel < channel1; channel += kWarps * U) {
        const int end = static_cast<int>(channel1 - channel < U ? channel1 - channel : U);
        const int64_t at = (n * p.c + channel) * p.pixels + (active ? pixel : 0);
        int row[U];
        Vec<T, V> x[U], dy[U];
        float scale[U], b[U] = {}, sum_dux[U] = {}, sum_du[U] = {};
#pragma unroll
        for (int u = 0; u < U; u++) {
            row[u] = u < end ? u : end - 1;
            x[u] = load_vec<T, V>(a.x + at + row[u] * p.pixels);
            dy[u] = load_before_store<T, V>(a.dy + at + row[u] * p.pixels);
            scale[u] = 1;
        }
        if (p.scale) {
#pragma unroll
            for (int u = 0; u < U; u++) scale[u] = p.scale[n * p.c + channel + row[u]];
        }
        if (p.b) {
#pragma unroll
            for (int u = 0; u < U; u++) b[u] = p.b[channel + row[u]];
        }
#pragma unroll
        for (int u = 0; u < U; u++) {
            const bool inside = active && u < end;
            clear_unless(inside, dy[u]);
            float dx[V];
#pragma unroll
            for (int j = 0; j < V; j++) {
                const float of_x = element(x[u], j);
                const float du = slope<Smooth>(p.f, element(dy[u], j), of_x, scale[u], noise[j] + b[u]);
                dx[j] = du * scale[u];
                sum_noise[j] += du;
                sum_du[u] += du;
                sum_dux[u] += du * of_x;
            }
            if (inside) store_whole(dx, a.dx + at + u * p.pixels);
        }
        const int64_t to = (n * a.cut.shares + share) * p.c + channel + lane;
#pragma unroll
        for (int u = 0; u < U; u++) {
            if (a.sum_dux) sum_dux[u] = sum_lanes(sum_dux[u], 32);
            if (a.sum_du) sum_du[u] = sum_lanes(sum_du[u], 32);
            if (lane != u || u >= end) continue;
            if (a.sum_dux) a.sum_dux[to] = sum_dux[u];
            if (a.sum_du) a.sum_du[to] = sum_du[u];
        }
    }

    // Sums of the warps of a block.
    __shared__ __align__(16) float shared[kWarps][32 * V];
    if (!a.sum_noise) return;
    store_parameters(sum_noise, &shared[warp][lane * V]);
    __syncthreads();
    float* const to = a.sum_noise + (blockIdx.y * p.n + n) * p.pixels;
    for (int i = threadIdx.x; i < 32 * V && share * 32 * V + i < p.pixels; i += kThreads) {
        float sum = 0;
        for (int w = 0; w < kWarps; w++) sum += shared[w][i];
        to[share * 32 * V + i] = sum;
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The gradient's launches.

// An odd number of channels in NHWC, such as the 3 of images: V pixels are taken for one of V times as many channels.
bool is_foldable(const EpilogueArgs& a, int V) {
    return a.channels_last && a.c % V != 0 && !a.noise && a.pixels % V == 0 && is_aligned(a.x);
}

EpilogueArgs folded(EpilogueArgs a, int V) {
    if (V > 1 && is_foldable(a, V)) a.c *= V, a.pixels /= V;
    return a;
}

int vector_of(const EpilogueGradArgs& a) {
    const bool wide = is_wide(a.forward, kVector) || is_foldable(a.forward, kVector);
    return wide && is_aligned(a.dy) && is_aligned(a.dx) ? kVector : 1;
}

Cut make_cut(const EpilogueArgs& a, int V) {
    const int U = ahead(a.dtype == kFloat32 ? 4 : 2, V, is_smooth(a.f), a.channels_last);
    const int64_t blocks = processors() * kResident;  // that run at a time
    Cut cut = {};
    if (a.channels_last) {
        cut.lanes = 1;
        while (cut.lanes < kThreads && cut.lanes * V < a.c) cut.lanes *= 2;
        cut.slab = cut.lanes * V;
        cut.slabs = ceil_div(a.c, cut.slab);
        const int64_t turns = ceil_div(a.pixels, kThreads / cut.lanes * U);
        const int64_t most = clamped(blocks / (a.n * cut.slabs), 1, ceil_div(turns, 2));
        cut.shares = ceil_div(turns, ceil_div(turns, most));  // no more than as many turns for each need
        cut.rows = cut.slabs * (cut.lanes > 32 ? cut.lanes / 32 : 1);
    } else {
        cut.shares = ceil_div(a.pixels, 32 * V);
        cut.slabs = clamped(blocks / (a.n * cut.shares), 1, ceil_div(a.c, kWarps * U));
        cut.slab = ceil_div(a.c, cut.slabs);
        cut.slabs = ceil_div(a.c, cut.slab);
        cut.rows = cut.slabs;
    }
    return cut;
}

// Where partial sums lie: in the workspace, or straight in the output where one row is all.
struct Layout {
    float *sum_dux, *sum_du, *sum_noise, *scratch;
    RowSums sums;
};

Layout make_layout(const EpilogueGradArgs& args, const EpilogueArgs& a, const Cut& cut) {
    const int64_t c = args.forward.c, fold = a.c / c, noise_rows = cut.rows * (a.noise_n == 1 ? a.n : 1);
    Layout layout = {};
    float* next = args.workspace;
    const auto place = [&](const float* wanted, float* output, int64_t groups, int64_t rows, int64_t columns) {
        float* const at = !wanted ? nullptr : rows == 1 ? output : next;
        if (wanted && rows > 1) next += groups * rows * columns, layout.sums.add(at, output, groups, rows, columns);
        return at;
    };
    layout.sum_dux = place(a.scale, args.dscale, a.n, cut.shares * fold, c);
    layout.sum_du = place(a.b, args.db, 1, a.n * cut.shares * fold, c);
    layout.sum_noise = place(a.noise, args.dnoise, 1, noise_rows, cut.rows * a.n * a.pixels / noise_rows);
    layout.scratch = next;
    return layout;
}

template <typename T, int V, bool Smooth>
cudaError_t run_gradient(const EpilogueGradArgs& args, void* stream) {
    const EpilogueArgs a = folded(args.forward, V);
    GradParams<T> p = {};
    p.x = static_cast<const T*>(a.x);
    p.dy = static_cast<const T*>(args.dy);
    p.dx = static_cast<T*>(args.dx);
    p.period = args.forward.c;
    p.p = make_parameters(a);
    p.cut = make_cut(a, V);
    const Layout layout = make_layout(args, a, p.cut);
    p.sum_dux = layout.sum_dux, p.sum_du = layout.sum_du, p.sum_noise = layout.sum_noise;

    auto kernel = a.channels_last ? nhwc_grad_kernel<T, V, Smooth> : nchw_grad_kernel<T, V, Smooth>;
    const int64_t limit = 65535 < STYLEGAN2_MAX_BLOCKS ? 65535 : STYLEGAN2_MAX_BLOCKS;  // of a grid in z
    for (; p.first < a.n; p.first += limit) {
        const auto samples = static_cast<unsigned>(a.n - p.first < limit ? a.n - p.first : limit);
        const dim3 blocks(static_cast<unsigned>(p.cut.shares), static_cast<unsigned>(p.cut.slabs), samples);
        const cudaError_t error = launch(kernel, blocks, kThreads, p, stream);
        if (error != cudaSuccess) return error;
    }
    return layout.sums.run(layout.scratch, stream);
}

// Sums over nothing are 0.
cudaError_t empty_gradient(const EpilogueGradArgs& args, void* stream) {
    const EpilogueArgs& a = args.forward;
    const auto clear = [&](float* sums, int64_t size) {
        return sums && size ? cudaMemsetAsync(sums, 0, size * sizeof(float), static_cast<cudaStream_t>(stream)) : cudaSuccess;
    };
    const cudaError_t errors[] = {clear(args.dscale, a.n * a.c), clear(args.dnoise, a.noise_n * a.pixels), clear(args.db, a.c)};
    for (const cudaError_t error : errors) {
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}

template <typename T, bool Smooth>
cudaError_t gradient(const EpilogueGradArgs& args, void* stream) {
    return vector_of(args) > 1 ? run_gradient<T, kVector, Smooth>(args, stream) : run_gradient<T, 1, Smooth>(args, stream);
}

}  // namespace

extern "C" int stylegan2_epilogue(const EpilogueArgs* args, void* stream) {
    if (args->n * args->c * args->pixels == 0) return cudaSuccess;
    return with_type(args->dtype, [&](auto* type) {
        using T = typename std::remove_pointer<decltype(type)>::type;
        return is_smooth(args->f) ? forward<T, true>(*args, stream) : forward<T, false>(*args, stream);
    });
}

extern "C" int stylegan2_epilogue_grad(const EpilogueGradArgs* args, void* stream) {
    const EpilogueArgs& a = args->forward;
    if (a.n * a.c * a.pixels == 0) return empty_gradient(*args, stream);
    return with_type(a.dtype, [&](auto* type) {
        using T = typename std::remove_pointer<decltype(type)>::type;
        return is_smooth(a.f) ? gradient<T, true>(*args, stream) : gradient<T, false>(*args, stream);
    });
}

extern "C" int64_t stylegan2_epilogue_grad_workspace(const EpilogueGradArgs* args) {
    if (args->forward.n * args->forward.c * args->forward.pixels == 0) return 0;
    EpilogueGradArgs at_zero = *args;
    at_zero.workspace = nullptr;
    const int V = vector_of(*args);
    const EpilogueArgs a = folded(args->forward, V);
    const Layout layout = make_layout(at_zero, a, make_cut(a, V));
    return layout.scratch - at_zero.workspace + layout.sums.scratch();
}
