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

// The sum of each group of `lanes` neighbours of a warp, in all of them; of the whole warp if there are more.
__device__ __forceinline__ float sum_lanes(float x, int lanes) {
#pragma unroll
    for (int i = 16; i > 0; i /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, i);
        if (i < lanes) x += other;
    }
    return x;
}

// The sum of every `lanes`-th lane of a warp.
__device__ __forceinline__ float sum_groups(float x, int lanes) {
#pragma unroll
    for (int i = 16; i > 0; i /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, i);
        if (i >= lanes) x += other;
    }
    return x;
}

// Sums over rows, up to three tensors in one launch: [groups, rows, columns] -> [groups, columns], in rounds of kRows.

#ifndef STYLEGAN2_ROWS  // tests lower it
#define STYLEGAN2_ROWS 1024
#endif
constexpr int64_t kRows = STYLEGAN2_ROWS;
constexpr int kSumThreads = 512;

struct RowSum {
    const float* from;
    float* to;  // [groups, parts, columns]
    int64_t groups, rows, columns, parts;
    int64_t tiles, width;  // of the columns: threads lie along `width` of them, the rest along the rows
    int64_t end;           // of its blocks, after those of the ones before
};

struct RowParams {
    RowSum sums[3];
};

__global__ void __launch_bounds__(kSumThreads) sum_rows_kernel(RowParams p) {
    __shared__ float shared[kSumThreads];
    for (int64_t i = blockIdx.x; i < p.sums[2].end; i += gridDim.x) {
        const int which = i < p.sums[0].end ? 0 : i < p.sums[1].end ? 1 : 2;
        const RowSum& s = p.sums[which];
        const int64_t tile = i - (which ? p.sums[which - 1].end : 0);
        const int width = static_cast<int>(s.width), step = kSumThreads / width, row0 = threadIdx.x / width;
        const int64_t part = tile / s.tiles % s.parts, group = tile / s.tiles / s.parts;
        const int64_t column = tile % s.tiles * width + threadIdx.x % width;
        const int64_t end = (part + 1) * kRows < s.rows ? (part + 1) * kRows : s.rows;
        float sum = 0;
        if (column < s.columns) {
            const float* from = s.from + group * s.rows * s.columns + column;
#pragma unroll 8
            for (int64_t row = part * kRows + row0; row < end; row += step) sum += from[row * s.columns];
        }
        shared[threadIdx.x] = sum;
        __syncthreads();
        if (row0 == 0 && column < s.columns) {
            for (int k = 1; k < step; k++) sum += shared[k * width + threadIdx.x];
            s.to[(group * s.parts + part) * s.columns + column] = sum;
        }
        __syncthreads();
    }
}

// What is to be added up.
class RowSums {
public:
    void add(const float* from, float* to, int64_t groups, int64_t rows, int64_t columns) {
        p_.sums[count_++] = {from, to, groups, rows, columns, 0, 0, 0, 0};
    }

    // Floats that run() needs.
    int64_t scratch() const {
        int64_t size = 0;
        for (const RowSum& s : p_.sums) {
            for (int64_t rows = s.rows; rows > kRows;) rows = ceil_div(rows, kRows), size += s.groups * rows * s.columns;
        }
        return size;
    }

    cudaError_t run(float* scratch, void* stream) const {
        RowParams p = p_;
        for (;;) {
            RowParams next = {};
            int64_t end = 0;
            int left = 0;
            for (RowSum& s : p.sums) {
                if (s.rows > 0) {
                    s.parts = ceil_div(s.rows, kRows);
                    s.width = 32;
                    while (s.width < kSumThreads && kSumThreads / s.width > s.rows) s.width *= 2;
                    s.tiles = ceil_div(s.columns, s.width);
                    end += s.groups * s.parts * s.tiles;
                    if (s.parts > 1) {
                        next.sums[left++] = {scratch, s.to, s.groups, s.parts, s.columns, 0, 0, 0, 0};
                        s.to = scratch;
                        scratch += s.groups * s.parts * s.columns;
                    }
                }
                s.end = end;
            }
            if (end == 0) return cudaSuccess;
            const cudaError_t error = launch(sum_rows_kernel, num_blocks(end, 1), kSumThreads, p, stream);
            if (error != cudaSuccess || left == 0) return error;
            p = next;
        }
    }

private:
    RowParams p_ = {};
    int count_ = 0;
};

}  // namespace
