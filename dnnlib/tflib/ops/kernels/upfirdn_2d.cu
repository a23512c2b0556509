// Padding, upsampling, FIR filtering, downsampling.
//
// Filters of up to 4x4 with factors 2 up, 2 down or none, which is all that StyleGAN2 uses, have kernels in which each
// thread computes a few neighbouring outputs from a window of inputs in registers; sizes of the window and the taps that
// meet are known when compiling. NCHW reads a tile of the image into shared memory first; NHWC reads vectors of channels,
// which neighbouring threads find in the cache. Everything else runs in a kernel of one thread per output.

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
    int oddx, oddy;  // 1: the first tile starts one output before the image, so that its first tap meets a sample
    bool flip, vector_stores;
    float gain;
};

// The filter as it is applied to rising positions, in shared memory. Larger than the filter: zeros after it.
template <typename T>
__device__ __forceinline__ void load_filter(const Params<T>& p, float* to, int rows, int columns, int thread, int threads) {
    for (int i = thread; i < rows * columns; i += threads) {
        const int y = i / columns, x = i % columns;
        const bool inside = y < p.firh && x < p.firw;
        const int from = p.flip ? y * p.firw + x : (p.firh - 1 - y) * p.firw + p.firw - 1 - x;
        to[i] = inside ? p.gain * p.k[from] : 0;
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Any filter, any factors: one thread per output.

constexpr int kMaxFilter = 32;

template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads) any_kernel(Params<T> p) {
    __shared__ float k[kMaxFilter * kMaxFilter];
    load_filter(p, k, p.firh, p.firw, threadIdx.x, kThreads);
    __syncthreads();
    using Position = typename std::make_signed<Index>::type;
    const Index c = p.c, outw = p.outw, outh = p.outh;
    const int64_t size = p.n * p.outh * p.outw * p.c, stride = static_cast<int64_t>(gridDim.x) * kThreads;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < size; i += stride) {
        Index rest = static_cast<Index>(i);
        const Index channel = rest % c;
        rest /= c;
        const Index ox = rest % outw;
        rest /= outw;
        const Index oy = rest % outh, n = rest / outh;
        // The taps that meet samples of the image: positions x0 + fx that are multiples of up and inside.
        const Position x0 = static_cast<Position>(ox) * p.downx - p.padx0;
        const Position y0 = static_cast<Position>(oy) * p.downy - p.pady0;
        int fx0 = x0 < 0 ? static_cast<int>(-x0 < p.firw ? -x0 : p.firw) : 0;
        int fy0 = y0 < 0 ? static_cast<int>(-y0 < p.firh ? -y0 : p.firh) : 0;
        fx0 += static_cast<int>((p.upx - (x0 + fx0) % p.upx) % p.upx);
        fy0 += static_cast<int>((p.upy - (y0 + fy0) % p.upy) % p.upy);
        const Position ix0 = (x0 + fx0) / p.upx, iy0 = (y0 + fy0) / p.upy;
        const T* image = p.x + static_cast<int64_t>(n) * p.h * p.w * p.c + channel;
        float sum = 0;
        Position iy = iy0;
        for (int fy = fy0; fy < p.firh && iy < p.h; fy += p.upy, iy++) {
            Position ix = ix0;
            for (int fx = fx0; fx < p.firw && ix < p.w; fx += p.upx, ix++) {
                sum += k[fy * p.firw + fx] * to_float(image[(static_cast<int64_t>(iy) * p.w + ix) * p.c]);
            }
        }
        from_float(sum, p.y + i);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// 4x4 filters. Output o reads positions o * Down + f, f < 4; those that are multiples of Up are input positions / Up.

constexpr int kFir = 4;

template <int Up, int Down, int Outputs>
constexpr int kWindow = ((Outputs - 1) * Down + kFir - 1) / Up + 1;  // inputs that neighbouring outputs need

// Adds one row of a window to the outputs it belongs to. row: its number, a constant wherever loops are unrolled.
template <int Up, int Down, int OutX, int OutY, int V>
__device__ __forceinline__ void add_row(const float (&in)[kWindow<Up, Down, OutX>][V], int row, const float (&k)[kFir][kFir],
                                        float (&out)[OutY][OutX][V]) {
#pragma unroll
    for (int oy = 0; oy < OutY; oy++) {
        const int fy = row * Up - oy * Down;
        if (fy < 0 || fy >= kFir) continue;
#pragma unroll
        for (int ox = 0; ox < OutX; ox++) {
#pragma unroll
            for (int fx = 0; fx < kFir; fx++) {
                if ((ox * Down + fx) % Up != 0) continue;
#pragma unroll
                for (int j = 0; j < V; j++) out[oy][ox][j] += k[fy][fx] * in[(ox * Down + fx) / Up][j];
            }
        }
    }
}

template <typename T>
__device__ __forceinline__ void filter_in_registers(const Params<T>& p, int thread, int threads, float (&k)[kFir][kFir]) {
    __shared__ float shared[kFir * kFir];
    load_filter(p, shared, kFir, kFir, thread, threads);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kFir * kFir; i++) k[i / kFir][i % kFir] = shared[i];
}

// NCHW. A block computes a tile of 16 * OutX by 16 * OutY outputs of one plane at a time.
template <typename T, int Up, int Down, int OutX, int OutY>
__global__ void __launch_bounds__(kThreads) planes_kernel(Params<T> p) {
    constexpr int kTileX = 16 * OutX, kTileY = 16 * OutY;
    constexpr int kInX = kWindow<Up, Down, kTileX>, kInY = kWindow<Up, Down, kTileY>;
    // Windows start kStep apart, and are read in vectors of as many, so that the banks of shared memory do not collide.
    constexpr int kStep = OutX * Down / Up, kVectors = (kWindow<Up, Down, OutX> + kStep - 1) / kStep;
    constexpr int kStride = (15 + kVectors) * kStep;
    static_assert(kStep <= 4 && kStride >= kInX, "rows of the tile hold all windows");
    __shared__ __align__(16) float tile[kInY][kStride];
    float k[kFir][kFir];
    filter_in_registers(p, threadIdx.x, kThreads, k);
    const int thread_x = threadIdx.x % 16 * OutX, thread_y = threadIdx.x / 16 * OutY;
    const int64_t tiles_x = (p.outw + p.oddx + kTileX - 1) / kTileX, tiles_y = (p.outh + p.oddy + kTileY - 1) / kTileY;
    for (int64_t i = blockIdx.x; i < tiles_x * tiles_y * p.n; i += gridDim.x) {
        const int64_t plane = i / (tiles_x * tiles_y);
        const int in_plane = static_cast<int>(i - plane * tiles_x * tiles_y), tile_y = in_plane / static_cast<int>(tiles_x);
        const int tile_x = in_plane - tile_y * static_cast<int>(tiles_x);
        const int ox0 = tile_x * kTileX - p.oddx, oy0 = tile_y * kTileY - p.oddy;
        // Exact divisions, because of oddx and oddy.
        const int ix0 = (ox0 * Down - p.padx0) / Up, iy0 = (oy0 * Down - p.pady0) / Up;
        const T* x = p.x + plane * p.h * p.w;
        for (int row = threadIdx.x / 32; row < kInY; row += kThreads / 32) {
            const int iy = iy0 + row;
            const bool row_inside = iy >= 0 && iy < p.h;
            const T* from = x + iy * p.w + ix0;
#pragma unroll
            for (int column = threadIdx.x % 32; column < kInX; column += 32) {
                const bool inside = row_inside && ix0 + column >= 0 && ix0 + column < p.w;
                tile[row][column] = inside ? to_float(from[column]) : 0;
            }
        }
        __syncthreads();
        float out[OutY][OutX][1] = {};
#pragma unroll
        for (int row = 0; row < kWindow<Up, Down, OutY>; row++) {
            float in[kWindow<Up, Down, OutX>][1];
#pragma unroll
            for (int i = 0; i < kVectors; i++) {
                float part[kStep];
                load(&tile[thread_y * Down / Up + row][thread_x * Down / Up + i * kStep], part);
#pragma unroll
                for (int j = 0; j < kStep; j++) {
                    if (i * kStep + j < kWindow<Up, Down, OutX>) in[i * kStep + j][0] = part[j];
                }
            }
            add_row<Up, Down, OutX, OutY, 1>(in, row, k, out);
        }
        const int ox = ox0 + thread_x;
#pragma unroll
        for (int r = 0; r < OutY; r++) {
            const int oy = oy0 + thread_y + r;
            if (oy < 0 || oy >= p.outh) continue;
            T* y = p.y + (plane * p.outh + oy) * p.outw + ox;
            if (p.vector_stores && ox + OutX <= p.outw) {
                float values[OutX];
#pragma unroll
                for (int j = 0; j < OutX; j++) values[j] = out[r][j][0];
                store(values, y);
            } else {
#pragma unroll
                for (int j = 0; j < OutX; j++) {
                    if (ox + j >= 0 && ox + j < p.outw) from_float(out[r][j][0], y + j);
                }
            }
        }
        __syncthreads();
    }
}

// NHWC. A block computes 16x16 outputs of 4 vectors of V channels; a thread 2x2 of one vector.
template <typename T, int Up, int Down, int V>
__global__ void __launch_bounds__(kThreads) channels_kernel(Params<T> p) {
    constexpr int kOut = 2, kLanes = 4, kTile = 16;
    float k[kFir][kFir];
    filter_in_registers(p, threadIdx.x, kThreads, k);
    const int lane = threadIdx.x % kLanes, thread_x = threadIdx.x / kLanes % 8 * kOut, thread_y = threadIdx.x / kLanes / 8 * kOut;
    const int64_t tiles_x = (p.outw + p.oddx + kTile - 1) / kTile, tiles_y = (p.outh + p.oddy + kTile - 1) / kTile;
    const int64_t slabs = (p.c + kLanes * V - 1) / (kLanes * V), tiles = slabs * tiles_x * tiles_y;
    for (int64_t i = blockIdx.x; i < tiles * p.n; i += gridDim.x) {
        const int64_t n = i / tiles;
        int rest = static_cast<int>(i - n * tiles);
        const int channel = (rest % static_cast<int>(slabs) * kLanes + lane) * V;
        rest /= static_cast<int>(slabs);
        const int ox0 = rest % static_cast<int>(tiles_x) * kTile - p.oddx + thread_x;
        const int oy0 = rest / static_cast<int>(tiles_x) * kTile - p.oddy + thread_y;
        if (channel >= p.c || ox0 >= p.outw || oy0 >= p.outh) continue;
        const int ix0 = (ox0 * Down - p.padx0) / Up, iy0 = (oy0 * Down - p.pady0) / Up;
        const T* x = p.x + n * p.h * p.w * p.c + channel;
        float out[kOut][kOut][V] = {};
#pragma unroll
        for (int row = 0; row < kWindow<Up, Down, kOut>; row++) {
            const int iy = iy0 + row;
            if (iy < 0 || iy >= p.h) continue;
            float in[kWindow<Up, Down, kOut>][V] = {};
#pragma unroll
            for (int j = 0; j < kWindow<Up, Down, kOut>; j++) {
                const int ix = ix0 + j;
                if (ix >= 0 && ix < p.w) load(x + (static_cast<int64_t>(iy) * p.w + ix) * p.c, in[j]);
            }
            add_row<Up, Down, kOut, kOut, V>(in, row, k, out);
        }
#pragma unroll
        for (int r = 0; r < kOut; r++) {
#pragma unroll
            for (int j = 0; j < kOut; j++) {
                const int oy = oy0 + r, ox = ox0 + j;
                if (oy < 0 || oy >= p.outh || ox < 0 || ox >= p.outw) continue;
                store(out[r][j], p.y + ((n * p.outh + oy) * p.outw + ox) * p.c + channel);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The choice.

template <typename T, int Up, int Down, int OutX, int OutY>
cudaError_t run_planes(Params<T> p, void* stream) {
    p.vector_stores = p.outw % OutX == 0 && p.oddx == 0 && is_aligned(p.y);
    const int64_t tiles = ceil_div(p.outw + p.oddx, 16 * OutX) * ceil_div(p.outh + p.oddy, 16 * OutY) * p.n;
    return launch(planes_kernel<T, Up, Down, OutX, OutY>, num_blocks(tiles, 1), kThreads, p, stream);
}

template <typename T, int Up, int Down>
cudaError_t run_channels(const Params<T>& p, void* stream) {
    constexpr int V = kWide<T>;
    const bool wide = p.c % V == 0 && is_aligned(p.x) && is_aligned(p.y);
    const int64_t tiles = ceil_div(p.outw + p.oddx, 16) * ceil_div(p.outh + p.oddy, 16) * ceil_div(p.c, 4 * (wide ? V : 1)) * p.n;
    return launch(wide ? channels_kernel<T, Up, Down, V> : channels_kernel<T, Up, Down, 1>, num_blocks(tiles, 1), kThreads, p, stream);
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
    if (small && same && (!planes || p.outw > 16)) {
        if (p.upx == 2 && p.downx == 1) {
            p.oddx = p.padx0 & 1, p.oddy = p.pady0 & 1;
            return planes ? run_planes<T, 2, 1, 4, 2>(p, stream) : run_channels<T, 2, 1>(p, stream);
        }
        if (p.upx == 1 && p.downx == 2) {
            return planes ? run_planes<T, 1, 2, 2, 1>(p, stream) : run_channels<T, 1, 2>(p, stream);
        }
        if (p.upx == 1 && p.downx == 1) {
            return planes ? run_planes<T, 1, 1, 4, 2>(p, stream) : run_channels<T, 1, 1>(p, stream);
        }
    }
    const int64_t positions = (p.outh + 64) * p.downy + (p.outw + 64) * p.downx + abs(int64_t{p.padx0}) + abs(int64_t{p.pady0});
    const bool large = is_large(size) || positions + p.upx + p.upy > INT32_MAX;
    return launch(large ? any_kernel<T, uint64_t> : any_kernel<T, uint32_t>, num_blocks(size, kThreads), kThreads, p, stream);
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
