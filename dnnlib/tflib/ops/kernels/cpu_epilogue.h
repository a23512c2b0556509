// What the CPU kernels of the epilogue and its gradients share: inputs, blocks of pixels, sums in a fixed order.

#pragma once

#include "cpu_pointwise.h"

namespace {

// Views of the inputs of the epilogue; absent ones point at ones or zeros that fit.
struct EpilogueInputs {
    const EpilogueArgs& args;
    const Pointwise f;
    const bool noise_per_sample;
    Vector<float> ones, zeros;

    explicit EpilogueInputs(const EpilogueArgs& a)
        : args(a),
          f(make_pointwise(a.f)),
          noise_per_sample(a.noise && a.noise_n == a.n && a.n > 1),
          ones(a.scale ? 0 : a.c, 1.f),
          zeros(most(a.b ? 0 : a.c, a.noise ? 0 : a.pixels), 0.f) {}

    const float* scale(int64_t n) const { return args.scale ? args.scale + n * args.c : ones.data(); }
    const float* bias() const { return args.b ? args.b : zeros.data(); }
    const float* noise(int64_t n) const {
        return args.noise ? args.noise + (noise_per_sample ? n * args.pixels : 0) : zeros.data();
    }
};

constexpr int64_t kBlock = 512;  // pixels at once, and per partial sum

// Calls work(i, n, begin, end) for block i of pixels [begin, end) of sample n.
template <typename Work>
inline void for_blocks(const Parallel* parallel, const EpilogueInputs& in, int64_t cost, const Work& work) {
    const int64_t blocks = (in.args.pixels + kBlock - 1) / kBlock;
    parallel_for(parallel, in.args.n * blocks, kBlock * in.args.c * cost, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
            const int64_t begin = i % blocks * kBlock;
            work(i, i / blocks, begin, least(begin + kBlock, in.args.pixels));
        }
    });
}

// [groups, rows, columns] -> [groups, columns], in order.
inline void sum_rows(const float* from, int64_t groups, int64_t rows, int64_t columns, float* to) {
    Vector<double> total(columns);
    for (int64_t g = 0; g < groups; ++g) {
        for (int64_t c = 0; c < columns; ++c) total[c] = 0;
        for (int64_t r = 0; r < rows; ++r) {
            const float* row = from + (g * rows + r) * columns;
            for (int64_t c = 0; c < columns; ++c) total[c] += row[c];
        }
        for (int64_t c = 0; c < columns; ++c) to[g * columns + c] = static_cast<float>(total[c]);
    }
}

// How a workspace is divided: sums of blocks for dscale and db, [N, blocks, C] each, and of noise that all samples share.
struct Sums {
    int64_t blocks, per_map, noise;
    explicit Sums(const EpilogueArgs& a)
        : blocks((a.pixels + kBlock - 1) / kBlock),
          per_map(a.n * blocks * a.c),
          noise(a.noise && !(a.noise_n == a.n && a.n > 1) ? a.n * a.pixels : 0) {}
};

}  // namespace
