// CPU kernels of the epilogue: what a layer does besides its convolution, in one pass over memory.
//
// Arithmetic is in float32 whatever the type of the images. Sums are taken over fixed blocks in a fixed order, so
// results do not depend on the number of threads. Loops marked `omp simd` become vector instructions.

#include "cpu_epilogue.h"

namespace {

// The pixels [begin, end) of sample n.
template <typename T>
struct EpiloguePixels {
    const EpilogueInputs& in;
    const typename T::Bits* x;
    typename T::Bits* y;
    int64_t n, begin, end;

    template <bool leaky>
    void run() {
        const int64_t C = in.args.c;
        const Pointwise f = in.f;
        const float *s = in.scale(n), *b = in.bias(), *z = in.noise(n);
        if (in.args.channels_last) {
            for (int64_t p = begin; p < end; ++p) {
                const int64_t offset = (n * in.args.pixels + p) * C;
                const typename T::Bits* from = x + offset;
                typename T::Bits* to = y + offset;
                const float noise = z[p];
#pragma omp simd
                for (int64_t c = 0; c < C; ++c) {
                    to[c] = T::store(F<leaky>::value(T::load(from[c]) * s[c] + noise + b[c], f));
                }
            }
            return;
        }
        for (int64_t c = 0; c < C; ++c) {
            const int64_t offset = (n * C + c) * in.args.pixels;
            const typename T::Bits* from = x + offset;
            typename T::Bits* to = y + offset;
            const float scale = s[c], bias = b[c];
#pragma omp simd
            for (int64_t p = begin; p < end; ++p) {
                to[p] = T::store(F<leaky>::value(T::load(from[p]) * scale + z[p] + bias, f));
            }
        }
    }
};

template <typename T>
struct EpilogueGradBlock {
    const EpilogueInputs& in;
    const typename T::Bits *dy, *x;
    typename T::Bits* dx;
    float *noise_sums, *scale_sums, *bias_sums;  // noise_sums: [N, P] or null; the others: [C] of this block, zeros
    int64_t n, begin, end;                       // pixels of sample n

    template <bool leaky>
    void run() {
        const int64_t C = in.args.c;
        const Pointwise f = in.f;
        const float *s = in.scale(n), *b = in.bias(), *z = in.noise(n);
        float *ds = scale_sums, *db = bias_sums, *dz = noise_sums ? noise_sums + n * in.args.pixels : nullptr;
        if (in.args.channels_last) {
            for (int64_t p = begin; p < end; ++p) {
                const int64_t offset = (n * in.args.pixels + p) * C;
                const typename T::Bits *g = dy + offset, *from = x + offset;
                typename T::Bits* to = dx + offset;
                const float noise = z[p];
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int64_t c = 0; c < C; ++c) {
                    const float v = T::load(from[c]);
                    const float du = T::load(g[c]) * F<leaky>::slope(v * s[c] + noise + b[c], f);
                    to[c] = T::store(du * s[c]);
                    ds[c] += du * v;
                    db[c] += du;
                    sum += du;
                }
                if (dz) dz[p] = sum;
            }
            return;
        }
        float sums[kBlock] = {};
        for (int64_t c = 0; c < C; ++c) {
            const int64_t offset = (n * C + c) * in.args.pixels;
            const typename T::Bits *g = dy + offset, *from = x + offset;
            typename T::Bits* to = dx + offset;
            const float scale = s[c], bias = b[c];
            float scale_sum = 0, bias_sum = 0;
#pragma omp simd reduction(+ : scale_sum, bias_sum)
            for (int64_t p = begin; p < end; ++p) {
                const float v = T::load(from[p]);
                const float du = T::load(g[p]) * F<leaky>::slope(v * scale + z[p] + bias, f);
                to[p] = T::store(du * scale);
                scale_sum += du * v;
                bias_sum += du;
                sums[p - begin] += du;
            }
            ds[c] = scale_sum;
            db[c] = bias_sum;
        }
        if (dz) std::memcpy(dz + begin, sums, (end - begin) * sizeof(float));
    }
};

}  // namespace

extern "C" int stylegan2_cpu_epilogue(const EpilogueArgs* args, const Parallel* parallel) {
    const EpilogueInputs in(*args);
    return with_type(args->dtype, [&](auto type) {
        using T = decltype(type);
        const auto* x = static_cast<const typename T::Bits*>(args->x);
        auto* y = static_cast<typename T::Bits*>(args->y);
        for_blocks(parallel, in, 1, [&](int64_t, int64_t n, int64_t begin, int64_t end) {
            run(in.f, EpiloguePixels<T>{in, x, y, n, begin, end});
        });
    });
}

extern "C" int64_t stylegan2_cpu_epilogue_grad_workspace(const EpilogueGradArgs* args) {
    const Sums sums(args->forward);
    return 2 * sums.per_map + sums.noise;
}

extern "C" int stylegan2_cpu_epilogue_grad(const EpilogueGradArgs* args, const Parallel* parallel) {
    const EpilogueArgs& a = args->forward;
    const EpilogueInputs in(a);
    const Sums sums(a);
    float *scale_sums = args->workspace, *bias_sums = scale_sums + sums.per_map, *all_noise = bias_sums + sums.per_map;
    float* noise_sums = !a.noise ? nullptr : in.noise_per_sample ? args->dnoise : all_noise;
    const int error = with_type(a.dtype, [&](auto type) {
        using T = decltype(type);
        const auto *dy = static_cast<const typename T::Bits*>(args->dy), *x = static_cast<const typename T::Bits*>(a.x);
        auto* dx = static_cast<typename T::Bits*>(args->dx);
        for_blocks(parallel, in, 3, [&](int64_t i, int64_t n, int64_t begin, int64_t end) {
            float *scale = scale_sums + i * a.c, *bias = bias_sums + i * a.c;
            for (int64_t c = 0; c < a.c; ++c) scale[c] = bias[c] = 0;
            run(in.f, EpilogueGradBlock<T>{in, dy, x, dx, noise_sums, scale, bias, n, begin, end});
        });
    });
    if (args->dscale) sum_rows(scale_sums, a.n, sums.blocks, a.c, args->dscale);
    if (args->db) sum_rows(bias_sums, 1, a.n * sums.blocks, a.c, args->db);
    if (args->dnoise && !in.noise_per_sample) sum_rows(all_noise, 1, a.n, a.pixels, args->dnoise);
    return error;
}
