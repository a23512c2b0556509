// The gradient of the epilogue's gradient, in one pass: what path length regularisation and R1 differentiate again.
//
// Work is cut as in epilogue.cu, and sums are taken in one order as there. Where F is piecewise linear, F'' is 0: then
// there are no sums over du * F'', and without a scale dy is not even read.

#include "epilogue_common.h"

namespace {

constexpr int64_t kEnough = 2048;  // blocks that fill a GPU
constexpr int kVector = 4;         // elements: with more, 16-bit types take too many registers
constexpr int kSteps = 2;          // vectors that a thread loads at once

struct Cut {
    int64_t shares;  // of the pixels of a sample
    int64_t slab;    // channels in a slab
    int64_t slabs;
    int lanes;       // NHWC: threads along the channels of a slab
};

template <typename T>
struct SecondParams {
    const T *dy, *x, *a;
    const float *p, *q, *r;               // null where scale, noise, b are
    T *d_dy, *d_x;                        // d_x null: it is 0
    float *sum_scale, *sum_noise, *sum_b;  // partial sums; null: not wanted
    int64_t first;                        // sample of this launch
    Cut cut;
    Parameters parameters;
};

// One element.
struct Element {
    float d_dy, d_x, d_scale, d_u;
};

template <bool Smooth>
__device__ __forceinline__ Element second(const Pointwise& f, float dy, float x, float a, float scale, float p,
                                          float offset, float offset_w) {
    const float w = a * scale + p * x + offset_w;
    const float u = x * scale + offset, d1 = derivative<Smooth>(f, u), du = dy * d1;
    if (!Smooth) return {d1 * w, du * p, du * a, 0};
    const float d_u = dy * derivative<Smooth, true>(f, u) * w;
    return {d1 * w, du * p + d_u * scale, du * a + d_u * x, d_u};
}

// NHWC. Lanes lie along vectors of V channels of a slab; a share of the pixels belongs to a block.
template <typename T, int V, bool Smooth>
__global__ void __launch_bounds__(kThreads, Smooth ? 2 : 3) nhwc_second_kernel(SecondParams<T> k) {
    const Parameters& in = k.parameters;
    const int lanes = k.cut.lanes, groups = kThreads / lanes, group = threadIdx.x / lanes, lane = threadIdx.x % lanes;
    const int64_t share = blockIdx.x, n = k.first + blockIdx.z;
    const int64_t channel = blockIdx.y * k.cut.slab + lane * V;
    const bool active = channel < in.c, needs_dy = k.d_x;
    float scale[V], b[V] = {}, p[V] = {}, r[V] = {}, sum_scale[V] = {}, sum_b[V] = {};
#pragma unroll
    for (int j = 0; j < V; j++) scale[j] = 1;
    if (active && in.scale) load_parameters(in.scale + n * in.c + channel, scale);
    if (active && in.scale) load_parameters(k.p + n * in.c + channel, p);
    if (active && in.b) load_parameters(in.b + channel, b);
    if (active && in.b) load_parameters(k.r + channel, r);

    const int64_t first = in.pixels * share / k.cut.shares, last = in.pixels * (share + 1) / k.cut.shares;
    const int64_t step = groups * in.c;
    int64_t at = (n * in.pixels + first + group) * in.c + channel;
    for (int64_t turn = first; turn < last; turn += groups * kSteps, at += step * kSteps) {
        Vec<T, V> x[kSteps], dy[kSteps], a[kSteps];
        float noise[kSteps] = {}, q[kSteps] = {};
#pragma unroll
        for (int s = 0; s < kSteps; s++) {
            const int64_t pixel = turn + group + s * groups;
            if (!active || pixel >= last) continue;
            x[s] = load_before_store<T, V>(k.x + at + s * step);
            a[s] = load_before_store<T, V>(k.a + at + s * step);
            if (needs_dy) dy[s] = load_before_store<T, V>(k.dy + at + s * step);
            const int64_t at_noise = pixel + (in.one_noise ? 0 : n * in.pixels);
            if (in.noise) noise[s] = in.noise[at_noise], q[s] = k.q[at_noise];
        }
#pragma unroll
        for (int s = 0; s < kSteps; s++) {
            const int64_t pixel = turn + group + s * groups;
            const bool inside = active && pixel < last;
            float sum = 0;
            if (inside) {
                float d_dy[V], d_x[V];
#pragma unroll
                for (int j = 0; j < V; j++) {
                    const float of_dy = needs_dy ? element(dy[s], j) : 0;
                    const Element e = second<Smooth>(in.f, of_dy, element(x[s], j), element(a[s], j), scale[j],
                                                     p[j], noise[s] + b[j], q[s] + r[j]);
                    d_dy[j] = e.d_dy;
                    d_x[j] = e.d_x;
                    sum_scale[j] += e.d_scale;
                    if (Smooth) sum_b[j] += e.d_u, sum += e.d_u;
                }
                store_whole(d_dy, k.d_dy + at + s * step);
                if (needs_dy) store_whole(d_x, k.d_x + at + s * step);
            }
            if (Smooth && k.sum_noise) {
                sum = sum_lanes(sum, lanes);  // all lanes of a warp take part
                if (pixel < last && lane == 0) k.sum_noise[(blockIdx.y * in.n + n) * in.pixels + pixel] = sum;
            }
        }
    }

    // Sums of the groups of a block.
    if (!k.sum_scale && !k.sum_b) return;
    __shared__ float shared[Smooth ? 2 : 1][V][kThreads];
#pragma unroll
    for (int j = 0; j < V; j++) {
        shared[0][j][threadIdx.x] = sum_scale[j];
        if (Smooth) shared[Smooth][j][threadIdx.x] = sum_b[j];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < (Smooth ? 2 : 1) * V * lanes; i += kThreads) {
        const int which = i / (V * lanes), column = i % (V * lanes);
        float* to = which ? k.sum_b : k.sum_scale;
        if (blockIdx.y * k.cut.slab + column >= in.c || !to) continue;
        float sum = 0;
        for (int g = 0; g < groups; g++) sum += shared[which][column % V][g * lanes + column / V];
        to[(n * k.cut.shares + share) * in.c + blockIdx.y * k.cut.slab + column] = sum;
    }
}

// NCHW. A share is kSteps * 32 vectors of V pixels, and belongs to a warp, which takes it through the channels of a
// slab.
template <typename T, int V, bool Smooth>
__global__ void __launch_bounds__(kThreads, Smooth ? 2 : 3) nchw_second_kernel(SecondParams<T> k) {
    const Parameters& in = k.parameters;
    const int64_t share = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32, n = k.first + blockIdx.z;
    if (share >= k.cut.shares) return;
    const int lane = threadIdx.x % 32;
    const bool needs_dy = k.d_x;
    const int64_t first = (share * kSteps * 32 + lane) * V;
    float noise[kSteps][V] = {}, q[kSteps][V] = {}, sum_noise[kSteps][V] = {};
#pragma unroll
    for (int s = 0; s < kSteps; s++) {
        const int64_t pixel = first + s * 32 * V, at = pixel + (in.one_noise ? 0 : n * in.pixels);
        if (in.noise && pixel < in.pixels) load_parameters(in.noise + at, noise[s]), load_parameters(k.q + at, q[s]);
    }
    const int64_t channel0 = blockIdx.y * k.cut.slab;
    const int64_t channel1 = channel0 + k.cut.slab < in.c ? channel0 + k.cut.slab : in.c;
    for (int64_t channel = channel0; channel < channel1; channel++) {
        const float scale = in.scale ? in.scale[n * in.c + channel] : 1, p = in.scale ? k.p[n * in.c + channel] : 0;
        const float b = in.b ? in.b[channel] : 0, r = in.b ? k.r[channel] : 0;
        float sum_scale = 0, sum_b = 0;
#pragma unroll
        for (int s = 0; s < kSteps; s++) {
            const int64_t pixel = first + s * 32 * V, at = (n * in.c + channel) * in.pixels + pixel;
            if (pixel >= in.pixels) continue;
            float x[V], dy[V] = {}, a[V], d_dy[V], d_x[V];
            load(k.x + at, x);
            load(k.a + at, a);
            if (needs_dy) load(k.dy + at, dy);
#pragma unroll
            for (int j = 0; j < V; j++) {
                const Element e = second<Smooth>(in.f, dy[j], x[j], a[j], scale, p, noise[s][j] + b, q[s][j] + r);
                d_dy[j] = e.d_dy;
                d_x[j] = e.d_x;
                sum_scale += e.d_scale;
                if (Smooth) sum_b += e.d_u, sum_noise[s][j] += e.d_u;
            }
            store_whole(d_dy, k.d_dy + at);
            if (needs_dy) store_whole(d_x, k.d_x + at);
        }
        const int64_t to = (n * k.cut.shares + share) * in.c + channel;
        if (k.sum_scale) {
            sum_scale = sum_lanes(sum_scale, 32);
            if (lane == 0) k.sum_scale[to] = sum_scale;
        }
        if (Smooth && k.sum_b) {
            sum_b = sum_lanes(sum_b, 32);
            if (lane == 0) k.sum_b[to] = sum_b;
        }
    }
#pragma unroll
    for (int s = 0; s < kSteps; s++) {
        const int64_t pixel = first + s * 32 * V;
        if (!Smooth || !k.sum_noise || pixel >= in.pixels) continue;
        float* to = k.sum_noise + (blockIdx.y * in.n + n) * in.pixels + pixel;
#pragma unroll
        for (int j = 0; j < V; j++) to[j] = sum_noise[s][j];
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Launches.

Cut make_cut(const EpilogueArgs& a, int V) {
    Cut cut = {};
    if (a.channels_last) {
        cut.lanes = 1;
        while (cut.lanes < 32 && cut.lanes * V < a.c) cut.lanes *= 2;
        cut.slab = cut.lanes * V;
        cut.slabs = ceil_div(a.c, cut.slab);
        const int64_t turns = ceil_div(a.pixels, kThreads / cut.lanes * kSteps);
        cut.shares = clamped(kEnough / (a.n * cut.slabs), 1, ceil_div(turns, 2));
    } else {
        cut.shares = ceil_div(a.pixels, 32 * V * kSteps);
        cut.slabs = clamped(kEnough * kWarps / (a.n * cut.shares), 1, ceil_div(a.c, 8));
        cut.slab = ceil_div(a.c, cut.slabs);
        cut.slabs = ceil_div(a.c, cut.slab);
    }
    return cut;
}

// Partial sums: where they lie in the workspace (in floats), as far as there are any.
struct Sums {
    int64_t scale, b, noise;  // [n, shares, c], [n, shares, c], [slabs, n, pixels]; 0: none, or straight to the output
    int64_t noise_rows;
};

Sums make_sums(const EpilogueArgs& a, const Cut& cut) {
    const bool smooth = is_smooth(a.f);
    Sums sums = {};
    if (a.scale && cut.shares > 1) sums.scale = a.n * cut.shares * a.c;
    if (a.b && smooth) sums.b = a.n * cut.shares * a.c;
    sums.noise_rows = cut.slabs * (a.noise_n == 1 ? a.n : 1);
    if (a.noise && smooth && sums.noise_rows > 1) sums.noise = cut.slabs * a.n * a.pixels;
    return sums;
}

RowSums row_sums(const EpilogueSecondArgs& args, const Cut& cut, const Sums& sums) {
    const EpilogueArgs& a = args.forward;
    const float* const of_b = args.workspace + sums.scale;
    RowSums rows;
    if (sums.scale) rows.add(args.workspace, args.d_scale, a.n, cut.shares, a.c);
    if (sums.b) rows.add(of_b, args.d_b, 1, a.n * cut.shares, a.c);
    if (sums.noise) rows.add(of_b + sums.b, args.d_noise, 1, sums.noise_rows, sums.noise / sums.noise_rows);
    return rows;
}

bool is_wide(const EpilogueSecondArgs& args) {
    bool aligned = is_aligned(args.dy) && is_aligned(args.a) && is_aligned(args.d_dy) && is_aligned(args.d_x);
    const EpilogueArgs& a = args.forward;
    aligned = aligned && (a.channels_last ? is_aligned(args.p) && is_aligned(args.r) : is_aligned(args.q));
    return is_wide(a, kVector) && aligned;
}

template <typename T, int V, bool Smooth>
cudaError_t run_second(const EpilogueSecondArgs& args, void* stream) {
    const EpilogueArgs& a = args.forward;
    const Cut cut = make_cut(a, V);
    const Sums sums = make_sums(a, cut);
    SecondParams<T> k = {};
    k.dy = static_cast<const T*>(args.dy), k.x = static_cast<const T*>(a.x), k.a = static_cast<const T*>(args.a);
    k.p = args.p, k.q = args.q, k.r = args.r;
    k.d_dy = static_cast<T*>(args.d_dy), k.d_x = static_cast<T*>(args.d_x);
    k.cut = cut;
    k.parameters = make_parameters(a);
    float* const of_scale = args.workspace;
    float* const of_b = of_scale + sums.scale;
    float* const of_noise = of_b + sums.b;
    float* const scratch = of_noise + sums.noise;
    if (a.scale) k.sum_scale = sums.scale ? of_scale : args.d_scale;
    if (sums.b) k.sum_b = of_b;
    if (a.noise && Smooth) k.sum_noise = sums.noise ? of_noise : args.d_noise;

    auto kernel = a.channels_last ? nhwc_second_kernel<T, V, Smooth> : nchw_second_kernel<T, V, Smooth>;
    const auto shares = static_cast<unsigned>(a.channels_last ? cut.shares : ceil_div(cut.shares, kWarps));
    const int64_t limit = 65535 < STYLEGAN2_MAX_BLOCKS ? 65535 : STYLEGAN2_MAX_BLOCKS;  // of a grid in z
    for (; k.first < a.n; k.first += limit) {
        const int64_t samples = a.n - k.first < limit ? a.n - k.first : limit;
        const dim3 blocks(shares, static_cast<unsigned>(cut.slabs), static_cast<unsigned>(samples));
        const cudaError_t error = launch(kernel, blocks, kThreads, k, stream);
        if (error != cudaSuccess) return error;
    }
    return row_sums(args, cut, sums).run(scratch, stream);
}

// Sums over nothing are 0.
cudaError_t empty_second(const EpilogueSecondArgs& args, void* stream) {
    const EpilogueArgs& a = args.forward;
    const auto clear = [&](float* sums, int64_t size) {
        return sums && size ? cudaMemsetAsync(sums, 0, size * sizeof(float), static_cast<cudaStream_t>(stream)) : cudaSuccess;
    };
    const cudaError_t errors[] = {clear(args.d_scale, a.n * a.c), clear(args.d_noise, a.noise_n * a.pixels), clear(args.d_b, a.c)};
    for (const cudaError_t error : errors) {
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}

template <typename T, bool Smooth>
cudaError_t choose_width(const EpilogueSecondArgs& args, void* stream) {
    return is_wide(args) ? run_second<T, kVector, Smooth>(args, stream) : run_second<T, 1, Smooth>(args, stream);
}

}  // namespace

extern "C" int stylegan2_epilogue_second(const EpilogueSecondArgs* args, void* stream) {
    const EpilogueArgs& a = args->forward;
    if (a.n * a.c * a.pixels == 0) return empty_second(*args, stream);
    return with_type(a.dtype, [&](auto* type) {
        using T = typename std::remove_pointer<decltype(type)>::type;
        return is_smooth(a.f) ? choose_width<T, true>(*args, stream) : choose_width<T, false>(*args, stream);
    });
}

extern "C" int64_t stylegan2_epilogue_second_workspace(const EpilogueSecondArgs* args) {
    const EpilogueArgs& a = args->forward;
    if (a.n * a.c * a.pixels == 0) return 0;
    const Cut cut = make_cut(a, is_wide(*args) ? kVector : 1);
    const Sums sums = make_sums(a, cut);
    return sums.scale + sums.b + sums.noise + row_sums(*args, cut, sums).scratch();
}
