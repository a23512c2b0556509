// Padding, upsampling, FIR filtering, downsampling.
//
// Filters of up to 4x4 with factors 2 up, 2 down or none, which is all that StyleGAN2 uses, have a kernel whose threads walk
// down strips of the image. A strip is two or four outputs wide, and 16 bytes of channels deep in NHWC. Each row of inputs is
// read once (neighbours find what they share in the cache), filtered horizontally, and added to the outputs that it belongs
// to; a filter that is the product of two takes 4 + 4 multiplications in place of 16. Everything else runs in a plain kernel.

#include <initializer_list>

#include "kernel_common.h"

namespace {

template <typename T>
struct Params {
    const T* x;
    const float* k;
    T* y;
    int64_t n, c;  // NCHW: n planes, c is 1
    int64_t h, w, outh, outw;
    int firh, firw, upx, upy, downx, downy, padx0, pady0;
    bool flip;
    float gain;
};

// The filter as it is applied to rising positions, in shared memory. Larger than the filter: zeros after it.
template <typename Params>
__device__ __forceinline__ void load_filter(const Params& p, float* to, int rows, int columns, int thread, int threads) {
    for (int i = thread; i < rows * columns; i += threads) {
        const int y = i / columns, x = i % columns;
        const bool inside = y < p.firh && x < p.firw;
        const int from = p.flip ? y * p.firw + x : (p.firh - 1 - y) * p.firw + p.firw - 1 - x;
        to[i] = inside ? p.gain * p.k[from] : 0;
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Any filter, any factors: one thread for a few outputs below each other.

constexpr int kMaxFilter = 32, kRun = 4;

// The first tap that meets a sample, for taps at the positions start + f: multiples of `up` from 0 on.
template <typename Position>
__device__ __forceinline__ Position first_sample(Position start, int up, int fir, int& tap) {
    tap = start < 0 ? static_cast<int>(-start < fir ? -start : fir) : 0;
    const Position sample = (start + tap + up - 1) / up;
    tap += static_cast<int>(sample * up - (start + tap));
    return sample;
}

template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads) any_kernel(Params<T> p) {
    __shared__ float k[kMaxFilter * kMaxFilter];
    load_filter(p, k, p.firh, p.firw, threadIdx.x, kThreads);
    __syncthreads();
    using Position = typename std::make_signed<Index>::type;
    const Index c = p.c, outw = p.outw, runs = (p.outh + kRun - 1) / kRun;
    const int64_t size = p.n * static_cast<int64_t>(runs) * p.outw * p.c, stride = static_cast<int64_t>(gridDim.x) * kThreads;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < size; i += stride) {
        Index rest = static_cast<Index>(i);
        const Index channel = rest % c;
        rest /= c;
        const Index ox = rest % outw;
        rest /= outw;
        const Index run = rest % runs, n = rest / runs;
        int fx0;
        const Position ix0 = first_sample(static_cast<Position>(ox) * p.downx - p.padx0, p.upx, p.firw, fx0);
        const T* image = p.x + static_cast<int64_t>(n) * p.h * p.w * p.c + channel;
        const int64_t first = static_cast<int64_t>(run) * kRun, end = first + kRun < p.outh ? first + kRun : p.outh;
        for (int64_t oy = first; oy < end; oy++) {
            int fy0;
            Position iy = first_sample(static_cast<Position>(oy) * p.downy - p.pady0, p.upy, p.firh, fy0);
            float sum = 0;
            for (int fy = fy0; fy < p.firh && iy < p.h; fy += p.upy, iy++) {
                const T* from = image + (static_cast<int64_t>(iy) * p.w + ix0) * p.c;
                Position ix = ix0;
                for (int fx = fx0; fx < p.firw && ix < p.w; fx += p.upx, ix++, from += p.c) {
                    sum += k[fy * p.firw + fx] * to_float(*from);
                }
            }
            from_float(sum, p.y + ((static_cast<int64_t>(n) * p.outh + oy) * p.outw + ox) * p.c + channel);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// 4x4 filters. Output o reads positions o * Down + f, f < 4; those that are multiples of Up are input positions / Up.

constexpr int kFir = 4, kStripThreads = 128;

// Positions in an image take 32 bits here.
template <typename T>
struct StripParams {
    const T* x;
    const float* k;
    T* y;
    int64_t n, strips;  // samples, or planes; strips in each
    int c, h, w, outh, outw;
    int firh, firw, padx0, pady0;
    int oddx, oddy;      // 1: strips start one output before the image, so that their first tap meets a sample
    int lanes, slabs;    // vectors of channels: so many before neighbours in x, so many times
    int strips_x, rows;  // strips side by side; rows of outputs in each
    bool flip, large, vector_stores;
    float gain;
};

struct Filter {
    float k[kFir * kFir];
    float x[kFir], y[kFir];  // k[i][j] = y[i] * x[j], if there are such
};

// Returns whether the filter is the product of two: the row and the column of its largest entry then are its parts, but
// for a factor. The tolerance is the rounding of float32.
template <typename T>
__device__ __forceinline__ bool load_small_filter(const StripParams<T>& p, Filter& to) {
    if (threadIdx.x < kFir * kFir) load_filter(p, to.k, kFir, kFir, threadIdx.x, kFir * kFir);
    __syncthreads();
    bool separable = true;
    if (threadIdx.x < kFir * kFir) {
        int largest = 0;
        float size = fabsf(to.k[0]);
#pragma unroll
        for (int i = 1; i < kFir * kFir; i++) {
            const float other = fabsf(to.k[i]);
            if (other > size) size = other, largest = i;
        }
        const int row = threadIdx.x / kFir, column = threadIdx.x % kFir;
        const float y = to.k[row * kFir + largest % kFir], x = to.k[largest / kFir * kFir + column] / to.k[largest];
        if (row == 0) to.x[column] = x;
        if (column == 0) to.y[row] = y;
        const float entry = to.k[threadIdx.x];
        separable = fabsf(y * x - entry) <= 2.4e-7f * fabsf(entry);  // false for NaN: all entries are 0
    }
    return __syncthreads_and(separable);
}

template <typename T, int V>
constexpr int kStripBlocks = V == 1 ? 8 : sizeof(T) == 4 ? 5 : 4;  // that have registers on an SM at a time

// A strip: what one thread computes. It walks down the image, reads each row once, and adds it to the outputs that it
// belongs to. Of them only kSums rows are not finished at any time, and stay in registers.
template <typename T, int Up, int Down, int V, int OutX>
struct Strip {
    static constexpr int kIn = ((OutX - 1) * Down + kFir - 1) / Up + 1;  // inputs of OutX neighbouring outputs
    static constexpr int kSums = Down == 2 ? 1 : Up == 2 ? 2 : 3;
    static constexpr int kBefore = Up == 2 ? 3 : kSums;  // rows that are finished, but not written, before the first
    static constexpr int kAhead = V == 1 && Up == 1 ? 2 : 1;        // rows of inputs that are on their way
    static constexpr int kRows = kAhead > Down ? kAhead : Down;  // in a turn of the loop

    const T* x;  // the image, and its output, at the first of V channels
    T* y;
    int ix, ox;                // ix, ox: the first column of inputs and outputs
    int iy, limit;             // the next row of inputs; the end of those that are read
    int oy, low, high;         // the next row of outputs; the first and the end of those that are written
    unsigned c, input, output;  // distance of neighbours; where those rows begin (before the image: modulo 2^32)

    __device__ __forceinline__ Strip(const StripParams<T>& p, const T* x, T* y, int c, int ox, int first) : x(x), y(y), ox(ox), c(c) {
        ix = (ox * Down - p.padx0) / Up;  // exact divisions, because of oddx and oddy
        iy = (first * Down - p.pady0) / Up;
        oy = first - kBefore;
        low = first > 0 ? first : 0;
        high = first + p.rows < p.outh ? first + p.rows : p.outh;
        limit = iy + (high - oy + Up - 1) / Up * Down;
        limit = limit < p.h ? limit : p.h;
        input = (static_cast<unsigned>(iy) * p.w + ix) * c;
        output = (static_cast<unsigned>(oy) * p.outw + ox) * c;
    }

    __device__ __forceinline__ void load_row(const StripParams<T>& p, Vec<T, V> (&row)[kIn]) {
        if (iy >= 0 && iy < limit && ix >= 0 && ix + kIn <= p.w) {
#pragma unroll
            for (int j = 0; j < kIn; j++) row[j] = load_vec<T, V>(x + input + j * c);
        } else {
#pragma unroll
            for (int j = 0; j < kIn; j++) {
                const bool inside = iy >= 0 && iy < limit && ix + j >= 0 && ix + j < p.w;
                row[j] = inside ? load_vec<T, V>(x + (input + j * c)) : Vec<T, V>{};
            }
        }
        iy++;
        input += p.w * c;
    }

    __device__ __forceinline__ void store_row(const StripParams<T>& p, const float (&row)[OutX][V]) {
        if (oy >= low && oy < high) {
            if (V == 1 && p.vector_stores && ox + OutX <= p.outw) {
                float values[OutX];
#pragma unroll
                for (int j = 0; j < OutX; j++) values[j] = row[j][0];
                store(values, y + output);
            } else {
#pragma unroll
                for (int j = 0; j < OutX; j++) {
                    if (ox + j >= 0 && ox + j < p.outw) store(row[j], y + (output + j * c));
                }
            }
        }
        oy++;
        output += p.outw * c;
    }

    // sum + the inputs of output ox, filtered by one row.
    static __device__ __forceinline__ float add_row(const float (&k)[kFir], const float (&in)[kIn], int ox, float sum) {
#pragma unroll
        for (int fx = 0; fx < kFir; fx++) {
            if ((ox * Down + fx) % Up == 0) sum += k[fx] * in[(ox * Down + fx) / Up];
        }
        return sum;
    }

    template <bool Separable>
    __device__ __forceinline__ void walk(const StripParams<T>& p, const Filter& filter) {
        constexpr int kFilters = Separable ? 1 : kFir;
        float kx[kFilters][kFir], ky[kFir];
#pragma unroll
        for (int i = 0; i < kFilters * kFir; i++) kx[i / kFir][i % kFir] = Separable ? filter.x[i] : filter.k[i];
#pragma unroll
        for (int i = 0; i < kFir; i++) ky[i] = filter.y[i];

        Vec<T, V> ahead[kAhead][kIn];
#pragma unroll
        for (int i = 0; i < kAhead; i++) load_row(p, ahead[i]);
        float sums[kSums][OutX][V] = {};
#pragma unroll 1
        while (oy < high) {
            float done[Up][OutX][V];
#pragma unroll
            for (int row = 0; row < kRows; row++) {
                const int phase = row % Down;
                Vec<T, V>(&next)[kIn] = ahead[row % kAhead];
                float across[OutX][V] = {};
                if (Separable) {
#pragma unroll
                    for (int v = 0; v < V; v++) {
                        float in[kIn];
#pragma unroll
                        for (int j = 0; j < kIn; j++) in[j] = element(next[j], v);
#pragma unroll
                        for (int ox = 0; ox < OutX; ox++) across[ox][v] = add_row(kx[0], in, ox, 0);
                    }
                    load_row(p, next);  // arrives while the rest is computed
                }
#pragma unroll
                for (int v = 0; v < V; v++) {
                    float in[kIn];
#pragma unroll
                    for (int j = 0; j < kIn; j++) in[j] = Separable ? 0 : element(next[j], v);
#pragma unroll
                    for (int ox = 0; ox < OutX; ox++) {
                        const auto add = [&](int f, float sum) {
                            return Separable ? sum + ky[f] * across[ox][v] : add_row(kx[f % kFilters], in, ox, sum);
                        };
                        if (Down == 2) {
                            done[0][ox][v] = add(2 + phase, phase == 0 ? sums[0][ox][v] : done[0][ox][v]);
                            sums[0][ox][v] = add(phase, phase == 0 ? 0 : sums[0][ox][v]);
                            continue;
                        }
                        done[0][ox][v] = add(3, sums[kSums - 1][ox][v]);
                        if (Up == 2) {  // the odd row of two that began two steps ago, and the even one of the next two
                            done[Up - 1][ox][v] = add(2, sums[0][ox][v]);
                            sums[kSums - 1][ox][v] = add(1, 0);
                        } else {
#pragma unroll
                            for (int j = kSums - 1; j > 0; j--) sums[j][ox][v] = add(j, sums[j - 1][ox][v]);
                        }
                        sums[0][ox][v] = add(0, 0);
                    }
                }
                if (!Separable) load_row(p, next);
#pragma unroll
                for (int i = 0; i < Up; i++) {
                    if (phase == Down - 1) store_row(p, done[i]);
                }
            }
        }
    }
};

// Strips: V channels before neighbours in x, those before other channels, those before neighbours in y and samples.
// Planes: NCHW, where V and c are 1.
template <typename T, int Up, int Down, int V, int OutX, bool Planes>
__global__ void __launch_bounds__(kStripThreads, kStripBlocks<T, V>) strips_kernel(StripParams<T> p) {
    __shared__ Filter filter;
    const bool separable = load_small_filter(p, filter);
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kStripThreads + threadIdx.x;
    if (i >= p.n * p.strips) return;
    const int64_t n = p.large ? i / p.strips : static_cast<uint32_t>(i) / static_cast<uint32_t>(p.strips);
    unsigned rest = static_cast<unsigned>(i - n * p.strips);
    const unsigned lanes = Planes ? 1 : p.lanes, slabs = Planes ? 1 : p.slabs;
    const unsigned lane = rest % lanes;
    rest /= lanes;
    const int across = rest % p.strips_x;
    rest /= p.strips_x;
    const int channel = (rest % slabs * lanes + lane) * V, first = rest / slabs * p.rows - p.oddy, c = Planes ? 1 : p.c;
    const T* image = p.x + n * p.h * p.w * c + channel;
    T* output = p.y + n * p.outh * p.outw * c + channel;
    const int ox = across * OutX - p.oddx;
    if (separable) {
        Strip<T, Up, Down, V, OutX>(p, image, output, c, ox, first).template walk<true>(p, filter);
    } else {  // in parts of half the channels, or of a few columns, to make room for more of the filter
        constexpr int kV = V > 1 ? V / 2 : 1, kX = V > 1 ? OutX : Up;
#pragma unroll 1
        for (int v = 0, x = 0; v < V && x < OutX; V > 1 ? v += kV : x += kX) {
            Strip<T, Up, Down, kV, kX>(p, image + v, output + v, c, ox + x, first).template walk<false>(p, filter);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The choice.

// Long strips read few rows twice, short ones have work for all SMs: the height that takes the fewest steps, if so many
// blocks run at a time. `across`: strips side by side.
inline int64_t strip_height(int64_t across, int64_t rows, int overlap, int blocks_per_sm) {
    const int64_t at_a_time = processors() * blocks_per_sm, start = 2;
    int64_t best = 1, fewest = INT64_MAX;
    for (const int most : {1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 16, 20, 26, 32, 41, 52, 64}) {
        const int64_t parts = ceil_div(rows, most), height = ceil_div(rows, parts);
        const int64_t rounds = ceil_div(ceil_div(across * parts, kStripThreads), at_a_time);
        const int64_t steps = rounds * (height + overlap + start);
        if (steps <= fewest) best = height, fewest = steps;
    }
    return best;
}

template <typename T, int Up, int Down, int V, int OutX, bool Planes>
cudaError_t run_strips(StripParams<T> p, void* stream) {
    const int64_t vectors = p.c / V, line = 128 / (sizeof(T) * V);  // a line of the cache
    p.lanes = static_cast<int>(vectors % line == 0 ? line : vectors);
    p.slabs = static_cast<int>(vectors / p.lanes);
    p.strips_x = static_cast<int>(ceil_div(p.outw + p.oddx, OutX));
    const int64_t rows = ceil_div(p.outh + p.oddy, Up);
    constexpr int kSums = Strip<T, Up, Down, V, OutX>::kSums;
    const int64_t height = strip_height(p.n * vectors * p.strips_x, rows, kSums, kStripBlocks<T, V>);
    p.rows = static_cast<int>(height * Up);
    p.strips = vectors * p.strips_x * ceil_div(rows, height);
    p.large = is_large(p.n * p.strips);
    const unsigned blocks = static_cast<unsigned>(ceil_div(p.n * p.strips, kStripThreads));
    return launch(strips_kernel<T, Up, Down, V, OutX, Planes>, blocks, kStripThreads, p, stream);
}

template <typename T, int Up, int Down>
cudaError_t run_small(const Params<T>& a, bool planes, void* stream) {
    constexpr int V = kWide<T>, kOut = Down == 2 ? 2 : 4;
    StripParams<T> p = {};
    p.x = a.x, p.k = a.k, p.y = a.y;
    p.n = a.n;
    p.c = static_cast<int>(a.c);
    p.h = static_cast<int>(a.h), p.w = static_cast<int>(a.w), p.outh = static_cast<int>(a.outh), p.outw = static_cast<int>(a.outw);
    p.firh = a.firh, p.firw = a.firw, p.padx0 = a.padx0, p.pady0 = a.pady0;
    p.flip = a.flip, p.gain = a.gain;
    if (Up == 2) p.oddx = p.padx0 & 1, p.oddy = p.pady0 & 1;
    if (planes) {
        p.vector_stores = p.outw % kOut == 0 && p.oddx == 0 && is_aligned(p.y);
        if (p.vector_stores || Down == 2) return run_strips<T, Up, Down, 1, kOut, true>(p, stream);
    } else if (p.c % V == 0 && is_aligned(p.x) && is_aligned(p.y)) {
        return run_strips<T, Up, Down, V, 2, false>(p, stream);
    }
    return run_strips<T, Up, Down, 1, 2, false>(p, stream);
}

template <typename T>
cudaError_t run(const UpfirdnArgs& a, void* stream) {
    const bool planes = !a.channels_last || a.c == 1;
    Params<T> p = {};
    p.x = static_cast<const T*>(a.x);
    p.k = a.k;
    p.y = static_cast<T*>(a.y);
    p.n = planes ? a.n * a.c : a.n;
    p.c = planes ? 1 : a.c;
    p.h = a.h, p.w = a.w, p.outh = a.outh, p.outw = a.outw;
    p.firh = a.firh, p.firw = a.firw;
    p.upx = a.upx, p.upy = a.upy, p.downx = a.downx, p.downy = a.downy;
    p.padx0 = a.padx0, p.pady0 = a.pady0;
    p.flip = a.flip, p.gain = a.gain;

    const int64_t size = p.n * p.outh * p.outw * p.c, image = (p.outh + 32) * (p.outw + 32) * p.c * 4 + p.h * p.w * p.c;
    const int64_t reach = INT32_MAX / 4;  // of positions in an image, which the fast kernels count in 32 bits
    const bool small = p.firh <= kFir && p.firw <= kFir && image < INT32_MAX && abs(int64_t{p.padx0}) < reach && abs(int64_t{p.pady0}) < reach;
    const bool same = p.upx == p.upy && p.downx == p.downy;
    if (small && same) {
        if (p.upx == 2 && p.downx == 1) return run_small<T, 2, 1>(p, planes, stream);
        if (p.upx == 1 && p.downx == 2) return run_small<T, 1, 2>(p, planes, stream);
        if (p.upx == 1 && p.downx == 1) return run_small<T, 1, 1>(p, planes, stream);
    }
    const int64_t positions = (p.outh + 64) * p.downy + (p.outw + 64) * p.downx + abs(int64_t{p.padx0}) + abs(int64_t{p.pady0});
    const bool large = is_large(size) || positions + p.upx + p.upy > INT32_MAX;
    const unsigned blocks = num_blocks(ceil_div(p.outh, kRun) * p.n * p.outw * p.c, kThreads);
    return launch(large ? any_kernel<T, uint64_t> : any_kernel<T, uint32_t>, blocks, kThreads, p, stream);
}

}  // namespace

extern "C" int stylegan2_upfirdn_2d(const UpfirdnArgs* args, void* stream) {
    const UpfirdnArgs& a = *args;
    const bool sizes = a.firh >= 1 && a.firh <= kMaxFilter && a.firw >= 1 && a.firw <= kMaxFilter;
    if (!sizes || a.upx < 1 || a.upy < 1 || a.downx < 1 || a.downy < 1) return cudaErrorInvalidValue;
    if (a.n * a.c * a.outh * a.outw == 0) return cudaSuccess;
    return with_type(a.dtype, [&](auto* type) {
        return run<typename std::remove_pointer<decltype(type)>::type>(a, stream);
    });
}
