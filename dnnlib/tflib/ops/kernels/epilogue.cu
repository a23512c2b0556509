// The epilogue of a layer of the synthesis network, F(x * scale + noise + b), and its gradient: one pass each.
//
// The gradient sums over pixels (dscale, db) and over channels (dnoise) in the same pass, without atomic operations:
// - NHWC: a warp walks over the pixels of its share; lanes lie along the channels, so sums over pixels stay in registers
//   until the share ends, and sums over channels are taken among lanes.
// - NCHW: lanes lie along the pixels of a warp's share and walk over the channels: the other way round.
// Each share leaves a row of partial sums in the workspace, and sum_rows_kernel adds the rows, always in one order, so
// that results repeat exactly. With more than kSlab channels in NHWC, or to fill the GPU in NCHW, the channels are cut
// into slabs, whose partial dnoise are added likewise.

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

// How the work is cut, and where partial sums lie in the workspace (in floats).
struct Cut {
    int64_t shares;      // of the pixels of a sample
    int64_t slabs;       // of the channels
    int64_t slab;        // channels in a slab
    int64_t sums;        // of dscale, of db: [n, shares, c] each
    int64_t noise_sums;  // [slabs, n, pixels]; 0: straight to dnoise
    int64_t scratch;     // for sum_rows()
};

template <typename T>
struct GradParams {
    const T *x, *dy;
    T* dx;
    float *sum_dux, *sum_du, *sum_noise;  // partial sums; null: not wanted
    int64_t first;                        // sample of this launch
    Cut cut;
    Parameters p;
};

// NHWC. Lanes along Steps * 32 vectors of V channels at most; where there are fewer, several pixels share a warp. A share
// of the pixels belongs to a block, whose warps take them in turn.
template <typename T, int V, int Steps, bool Smooth>
__global__ void __launch_bounds__(kThreads) nhwc_grad_kernel(GradParams<T> a) {
    const Parameters& p = a.p;
    const int64_t share = blockIdx.x, n = a.first + blockIdx.z;
    const int channel0 = static_cast<int>(blockIdx.y * a.cut.slab);
    const int channels = static_cast<int>(p.c - channel0 < a.cut.slab ? p.c - channel0 : a.cut.slab);
    int lanes = 1;  // of a pixel
    while (lanes < 32 && lanes * V < channels) lanes *= 2;
    const int groups = kThreads / lanes, group = threadIdx.x / lanes, lane = threadIdx.x % lanes;

    float scale[Steps][V], b[Steps][V], sum_dux[Steps][V] = {}, sum_du[Steps][V] = {};
#pragma unroll
    for (int s = 0; s < Steps; s++) {
        const int channel = (s * lanes + lane) * V;
#pragma unroll
        for (int j = 0; j < V; j++) scale[s][j] = 1, b[s][j] = 0;
        if (channel >= channels) continue;
        if (p.scale) load_parameters(p.scale + n * p.c + channel0 + channel, scale[s]);
        if (p.b) load_parameters(p.b + channel0 + channel, b[s]);
    }
    const int64_t first = p.pixels * share / a.cut.shares, last = p.pixels * (share + 1) / a.cut.shares;
    for (int64_t turn = first; turn < last; turn += groups) {  // all lanes take part in sum_lanes()
        const int64_t pixel = turn + group;
        const bool inside = pixel < last;
        const int64_t at = (n * p.pixels + pixel) * p.c + channel0;
        const float noise = inside && p.noise ? p.noise[pixel + (p.one_noise ? 0 : n * p.pixels)] : 0;
        float sum = 0;
#pragma unroll
        for (int s = 0; s < Steps; s++) {
            const int channel = (s * lanes + lane) * V;
            if (!inside || channel >= channels) continue;
            float x[V], dy[V], dx[V];
            load(a.x + at + channel, x);
            load(a.dy + at + channel, dy);
#pragma unroll
            for (int j = 0; j < V; j++) {
                const float du = dy[j] * derivative<Smooth>(p.f, x[j] * scale[s][j] + noise + b[s][j]);
                dx[j] = du * scale[s][j];
                sum += du;
                sum_du[s][j] += du;
                sum_dux[s][j] += du * x[j];
            }
            store(dx, a.dx + at + channel);
        }
        if (a.sum_noise) {
            sum = sum_lanes(sum, lanes);
            if (inside && lane == 0) a.sum_noise[(blockIdx.y * p.n + n) * p.pixels + pixel] = sum;
        }
    }

    // Sums of the groups of a block: one vector of channels of each lane at a time through shared memory.
    __shared__ float shared[2][V][kThreads];
    if (!a.sum_dux && !a.sum_du) return;
#pragma unroll
    for (int s = 0; s < Steps; s++) {
#pragma unroll
        for (int j = 0; j < V; j++) {
            shared[0][j][threadIdx.x] = sum_dux[s][j];
            shared[1][j][threadIdx.x] = sum_du[s][j];
        }
        __syncthreads();
        for (int i = threadIdx.x; i < 2 * V * lanes; i += kThreads) {
            const int which = i / (V * lanes), column = i % (V * lanes), channel = s * lanes * V + column;
            float* to = which ? a.sum_du : a.sum_dux;
            if (channel >= channels || !to) continue;
            float sum = 0;
            for (int g = 0; g < groups; g++) sum += shared[which][column % V][g * lanes + column / V];
            to[(n * a.cut.shares + share) * p.c + channel0 + channel] = sum;
        }
        __syncthreads();
    }
}

// NCHW. A share is Steps * 32 vectors of V pixels, and belongs to a warp, which takes it through the channels of a slab.
template <typename T, int V, int Steps, bool Smooth>
__global__ void __launch_bounds__(kThreads) nchw_grad_kernel(GradParams<T> a) {
    const Parameters& p = a.p;
    const int64_t share = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32, n = a.first + blockIdx.z;
    if (share >= a.cut.shares) return;
    const int lane = threadIdx.x % 32;
    const int64_t first = (share * Steps * 32 + lane) * V;
    float noise[Steps][V] = {}, sum_noise[Steps][V] = {};
#pragma unroll
    for (int s = 0; s < Steps; s++) {
        const int64_t pixel = first + s * 32 * V;
        if (p.noise && pixel < p.pixels) load_parameters(p.noise + pixel + (p.one_noise ? 0 : n * p.pixels), noise[s]);
    }
    const int64_t channel0 = blockIdx.y * a.cut.slab;
    const int64_t channel1 = channel0 + a.cut.slab < p.c ? channel0 + a.cut.slab : p.c;
    for (int64_t channel = channel0; channel < channel1; channel++) {
        const float scale = p.scale ? p.scale[n * p.c + channel] : 1, b = p.b ? p.b[channel] : 0;
        const int64_t at = (n * p.c + channel) * p.pixels;
        float sum_dux = 0, sum_du = 0;
#pragma unroll
        for (int s = 0; s < Steps; s++) {
            const int64_t pixel = first + s * 32 * V;
            if (pixel >= p.pixels) continue;
            float x[V], dy[V], dx[V];
            load(a.x + at + pixel, x);
            load(a.dy + at + pixel, dy);
#pragma unroll
            for (int j = 0; j < V; j++) {
                const float du = dy[j] * derivative<Smooth>(p.f, x[j] * scale + noise[s][j] + b);
                dx[j] = du * scale;
                sum_noise[s][j] += du;
                sum_du += du;
                sum_dux += du * x[j];
            }
            store(dx, a.dx + at + pixel);
        }
        const int64_t to = (n * a.cut.shares + share) * p.c + channel;
        if (a.sum_dux) {
            sum_dux = sum_lanes(sum_dux, 32);
            if (lane == 0) a.sum_dux[to] = sum_dux;
        }
        if (a.sum_du) {
            sum_du = sum_lanes(sum_du, 32);
            if (lane == 0) a.sum_du[to] = sum_du;
        }
    }
    if (!a.sum_noise) return;
#pragma unroll
    for (int s = 0; s < Steps; s++) {
        const int64_t pixel = first + s * 32 * V;
        float* to = a.sum_noise + (blockIdx.y * p.n + n) * p.pixels + pixel;
        if (pixel >= p.pixels) continue;
#pragma unroll
        for (int j = 0; j < V; j++) to[j] = sum_noise[s][j];
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The gradient's launches.

// V: elements of a vector. NHWC: a slab is at most 4 * 32 * V channels (fewer, 2, for vectors of 8). NCHW: a share is
// Steps * 32 vectors of pixels.
constexpr int steps_of(int V) { return V == 8 ? 2 : 4; }
constexpr int kNchwSteps = 2;

Cut make_cut(const EpilogueGradArgs& args, int V) {
    const EpilogueArgs& a = args.forward;
    constexpr int64_t kEnough = 2048;  // blocks that fill a GPU
    Cut cut = {};
    if (a.channels_last) {
        cut.slab = clamped(a.c, 1, 32 * V * steps_of(V));
        cut.slabs = ceil_div(a.c, cut.slab);
        cut.shares = clamped(kEnough / (a.n * cut.slabs), 1, ceil_div(a.pixels * cut.slab, kThreads * V * 2));
    } else {
        cut.shares = ceil_div(a.pixels, 32 * V * kNchwSteps);
        cut.slabs = clamped(kEnough * kWarps / (a.n * cut.shares), 1, ceil_div(a.c, 8));
        cut.slab = ceil_div(a.c, cut.slabs);
        cut.slabs = ceil_div(a.c, cut.slab);
    }
    cut.sums = a.n * cut.shares * a.c;
    const int64_t noise_rows = cut.slabs * (a.noise_n == 1 ? a.n : 1);
    cut.noise_sums = a.noise && noise_rows > 1 ? cut.slabs * a.n * a.pixels : 0;
    const int64_t maps = scratch_of_rows(a.n, cut.shares, a.c), all = scratch_of_rows(1, a.n * cut.shares, a.c);
    const int64_t noise = scratch_of_rows(1, noise_rows, a.n * cut.slabs * a.pixels / noise_rows);
    cut.scratch = maps > all ? (maps > noise ? maps : noise) : (all > noise ? all : noise);
    return cut;
}

bool is_wide_gradient(const EpilogueGradArgs& a, int V) {
    return is_wide(a.forward, V) && is_aligned(a.dy) && is_aligned(a.dx);
}

template <typename T, int V, bool Smooth>
cudaError_t run_gradient(const EpilogueGradArgs& args, void* stream) {
    const EpilogueArgs& a = args.forward;
    GradParams<T> p = {};
    p.x = static_cast<const T*>(a.x);
    p.dy = static_cast<const T*>(args.dy);
    p.dx = static_cast<T*>(args.dx);
    p.p = make_parameters(a);
    p.cut = make_cut(args, V);
    const Cut& cut = p.cut;
    float* sums_dux = args.workspace;
    float* sums_du = sums_dux + (a.scale ? cut.sums : 0);
    float* sums_noise = sums_du + (a.b ? cut.sums : 0);
    float* scratch = sums_noise + cut.noise_sums;
    p.sum_dux = a.scale ? sums_dux : nullptr;
    p.sum_du = a.b ? sums_du : nullptr;
    p.sum_noise = !a.noise ? nullptr : cut.noise_sums ? sums_noise : args.dnoise;

    constexpr int kSteps = steps_of(V);
    const int64_t steps = ceil_div(cut.slab, 32 * V);
    auto kernel = !a.channels_last ? nchw_grad_kernel<T, V, kNchwSteps, Smooth>
                  : steps == 1     ? nhwc_grad_kernel<T, V, 1, Smooth>
                  : steps == 2     ? nhwc_grad_kernel<T, V, 2, Smooth>
                                   : nhwc_grad_kernel<T, V, kSteps, Smooth>;
    const auto shares = static_cast<unsigned>(a.channels_last ? cut.shares : ceil_div(cut.shares, kWarps));
    const int64_t limit = 65535 < STYLEGAN2_MAX_BLOCKS ? 65535 : STYLEGAN2_MAX_BLOCKS;  // of a grid in z
    cudaError_t error = cudaSuccess;
    for (; error == cudaSuccess && p.first < a.n; p.first += limit) {
        const int64_t samples = a.n - p.first < limit ? a.n - p.first : limit;
        const dim3 blocks(shares, static_cast<unsigned>(cut.slabs), static_cast<unsigned>(samples));
        error = launch(kernel, blocks, kThreads, p, stream);
    }
    if (error == cudaSuccess && a.scale) error = sum_rows(sums_dux, args.dscale, scratch, a.n, cut.shares, a.c, stream);
    if (error == cudaSuccess && a.b) error = sum_rows(sums_du, args.db, scratch, 1, a.n * cut.shares, a.c, stream);
    if (error == cudaSuccess && cut.noise_sums) {
        const int64_t rows = cut.slabs * (a.noise_n == 1 ? a.n : 1);
        error = sum_rows(sums_noise, args.dnoise, scratch, 1, rows, cut.slabs * a.n * a.pixels / rows, stream);
    }
    return error;
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
    constexpr int V = kWide<T>;
    return is_wide_gradient(args, V) ? run_gradient<T, V, Smooth>(args, stream) : run_gradient<T, 1, Smooth>(args, stream);
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
    const int V = args->forward.dtype == kFloat32 ? kWide<float> : kWide<__half>;
    const EpilogueArgs& a = args->forward;
    if (a.n * a.c * a.pixels == 0) return 0;
    const Cut cut = make_cut(*args, is_wide_gradient(*args, V) ? V : 1);
    return (a.scale ? cut.sums : 0) + (a.b ? cut.sums : 0) + cut.noise_sums + cut.scratch;
}
