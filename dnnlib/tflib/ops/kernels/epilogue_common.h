// What the epilogue and its gradients share: parameters, and sums in an order that is always the same.

#pragma once

#include "kernel_common.h"

namespace {

constexpr int kWarps = kThreads / 32;

struct Parameters {
    const float *scale, *noise, *b;  // any may be null
    int64_t n, c, pixels;
    bool one_noise;  // the same for all samples
    Pointwise f;
};

inline Parameters make_parameters(const EpilogueArgs& a) {
    return {a.scale, a.noise, a.b, a.n, a.c, a.pixels, a.noise_n == 1, make_pointwise(a.f)};
}

// Whether vectors of V elements lie in one row, for all tensors.
inline bool is_wide(const EpilogueArgs& a, int V) {
    const bool parameters = a.channels_last ? is_aligned(a.scale) && is_aligned(a.b) : is_aligned(a.noise);
    return (a.channels_last ? a.c : a.pixels) % V == 0 && parameters && is_aligned(a.x);
}

inline int64_t clamped(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

// ---------------------------------------------------------------------------------------------------------------------
// Sums.

__device__ __forceinline__ float sum_lanes(float x, int lanes) {
    for (int i = lanes / 2; i > 0; i /= 2) x += __shfl_xor_sync(0xffffffff, x, i);
    return x;
}

// Sums over rows: [groups, rows, columns] -> [groups, columns], in rounds of kRows rows.

constexpr int kRows = 128;

struct RowParams {
    const float* from;
    float* to;  // [groups, parts, columns]
    int64_t groups, rows, columns, parts, tiles;
};

__global__ void __launch_bounds__(kThreads) sum_rows_kernel(RowParams p) {
    __shared__ float shared[kWarps][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int64_t i = blockIdx.x; i < p.groups * p.parts * p.tiles; i += gridDim.x) {
        const int64_t column = i % p.tiles * 32 + lane, part = i / p.tiles % p.parts, group = i / p.tiles / p.parts;
        const int64_t end = (part + 1) * kRows < p.rows ? (part + 1) * kRows : p.rows;
        float sum = 0;
        if (column < p.columns) {
            for (int64_t row = part * kRows + warp; row < end; row += kWarps) {
                sum += p.from[(group * p.rows + row) * p.columns + column];
            }
        }
        shared[warp][lane] = sum;
        __syncthreads();
        if (warp == 0 && column < p.columns) {
            for (int w = 1; w < kWarps; w++) sum += shared[w][lane];
            p.to[(group * p.parts + part) * p.columns + column] = sum;
        }
        __syncthreads();
    }
}

inline int64_t scratch_of_rows(int64_t groups, int64_t rows, int64_t columns) {
    int64_t size = 0;
    for (int64_t parts = ceil_div(rows, kRows); parts > 1; parts = ceil_div(parts, kRows)) size += groups * parts * columns;
    return size;
}

inline cudaError_t sum_rows(const float* from, float* to, float* scratch, int64_t groups, int64_t rows, int64_t columns, void* stream) {
    for (;;) {
        const int64_t parts = ceil_div(rows, kRows), tiles = ceil_div(columns, 32);
        const RowParams p = {from, parts == 1 ? to : scratch, groups, rows, columns, parts, tiles};
        const cudaError_t error = launch(sum_rows_kernel, num_blocks(groups * parts * tiles, 1), kThreads, p, stream);
        if (error != cudaSuccess || parts == 1) return error;
        from = scratch;
        scratch += groups * parts * columns;
        rows = parts;
    }
}

}  // namespace
