// CPU kernel of the gradient of the epilogue's gradient, in one pass. Where F is piecewise linear there is nothing of F''.

#include "cpu_epilogue.h"

namespace {

struct Element {
    float d_dy, d_x, d_scale, d_u;
};

// g: of dy, v: of x, h: of a; u: the argument of F; offset: of w.
template <bool leaky>
inline Element second(float g, float v, float h, float scale, float p, float u, float offset, const Pointwise& f) {
    const float slope = F<leaky>::slope(u, f), w = h * scale + p * v + offset, du = g * slope;
    if (leaky) return {slope * w, du * p, du * h, 0};
    const float d_u = g * F<leaky>::curvature(u, f) * w;
    return {slope * w, du * p + d_u * scale, du * h + d_u * v, d_u};
}

// The pixels [begin, end) of sample n.
template <typename T>
struct SecondBlock {
    using Bits = typename T::Bits;
    const EpilogueInputs &in, &given;  // given: p, q, r in place of scale, noise, b
    const Bits *dy, *x, *a;
    Bits *d_dy, *d_x;                            // d_x null: it is 0, and dy is not read
    float *noise_sums, *scale_sums, *bias_sums;  // noise_sums: [N, P] or null; the others: [C] of this block, zeros
    int64_t n, begin, end;

    template <bool leaky>
    void run() {
        in.args.channels_last ? nhwc<leaky>() : nchw<leaky>();
    }

    template <bool leaky>
    void nhwc() {
        const int64_t C = in.args.c;
        const Pointwise f = in.f;
        const float *s = in.scale(n), *b = in.bias(), *z = in.noise(n);
        const float *sp = given.args.scale ? given.scale(n) : nullptr, *r = given.bias(), *q = given.noise(n);
        float *ds = scale_sums, *db = bias_sums, *dz = noise_sums ? noise_sums + n * in.args.pixels : nullptr;
        for (int64_t pixel = begin; pixel < end; ++pixel) {
            const int64_t offset = (n * in.args.pixels + pixel) * C;
            const Bits *g = dy + offset, *v = x + offset, *h = a + offset;
            Bits *to_dy = d_dy + offset, *to_x = d_x + offset;
            const float noise = z[pixel], of_q = q[pixel];
            if (!d_x) {
#pragma omp simd
                for (int64_t c = 0; c < C; ++c) {
                    const float slope = F<leaky>::slope(T::load(v[c]) + noise + b[c], f);
                    to_dy[c] = T::store(slope * (T::load(h[c]) + of_q + r[c]));
                }
                continue;
            }
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t c = 0; c < C; ++c) {
                const float xc = T::load(v[c]), u = xc * s[c] + noise + b[c];
                const float p = sp ? sp[c] : 0;
                const Element e = second<leaky>(T::load(g[c]), xc, T::load(h[c]), s[c], p, u, of_q + r[c], f);
                to_dy[c] = T::store(e.d_dy);
                to_x[c] = T::store(e.d_x);
                ds[c] += e.d_scale;
                if (!leaky) db[c] += e.d_u, sum += e.d_u;
            }
            if (dz) dz[pixel] = sum;
        }
    }

    template <bool leaky>
    void nchw() {
        const int64_t C = in.args.c;
        const Pointwise f = in.f;
        const float *s = in.scale(n), *b = in.bias(), *z = in.noise(n);
        const float *sp = given.args.scale ? given.scale(n) : nullptr, *r = given.bias(), *q = given.noise(n);
        float sums[kBlock] = {};
        for (int64_t c = 0; c < C; ++c) {
            const int64_t offset = (n * C + c) * in.args.pixels;
            const Bits *g = dy + offset, *v = x + offset, *h = a + offset;
            Bits *to_dy = d_dy + offset, *to_x = d_x + offset;
            const float scale = s[c], bias = b[c], p = sp ? sp[c] : 0, of_r = r[c];
            if (!d_x) {
#pragma omp simd
                for (int64_t i = begin; i < end; ++i) {
                    const float slope = F<leaky>::slope(T::load(v[i]) + z[i] + bias, f);
                    to_dy[i] = T::store(slope * (T::load(h[i]) + q[i] + of_r));
                }
                continue;
            }
            float scale_sum = 0, bias_sum = 0;
#pragma omp simd reduction(+ : scale_sum, bias_sum)
            for (int64_t i = begin; i < end; ++i) {
                const float xi = T::load(v[i]), u = xi * scale + z[i] + bias;
                const Element e = second<leaky>(T::load(g[i]), xi, T::load(h[i]), scale, p, u, q[i] + of_r, f);
                to_dy[i] = T::store(e.d_dy);
                to_x[i] = T::store(e.d_x);
                scale_sum += e.d_scale;
                if (!leaky) bias_sum += e.d_u, sums[i - begin] += e.d_u;
            }
            scale_sums[c] = scale_sum;
            bias_sums[c] = bias_sum;
        }
        if (noise_sums) std::memcpy(noise_sums + n * in.args.pixels + begin, sums, (end - begin) * sizeof(float));
    }
};

}  // namespace

extern "C" int64_t stylegan2_cpu_epilogue_second_workspace(const EpilogueSecondArgs* args) {
    const Sums sums(args->forward);
    return 2 * sums.per_map + sums.noise;
}

extern "C" int stylegan2_cpu_epilogue_second(const EpilogueSecondArgs* args, const Parallel* parallel) {
    const EpilogueArgs& forward = args->forward;
    EpilogueArgs of_given = forward;
    of_given.scale = args->p, of_given.noise = args->q, of_given.b = args->r;
    const EpilogueInputs in(forward), given(of_given);
    const Sums sums(forward);
    float *scale_sums = args->workspace, *bias_sums = scale_sums + sums.per_map, *all_noise = bias_sums + sums.per_map;
    float* noise_sums = !args->d_noise ? nullptr : in.noise_per_sample ? args->d_noise : all_noise;
    const int error = with_type(forward.dtype, [&](auto type) {
        using Bits = typename decltype(type)::Bits;
        const auto *dy = static_cast<const Bits*>(args->dy), *x = static_cast<const Bits*>(forward.x);
        const auto* a = static_cast<const Bits*>(args->a);
        auto *d_dy = static_cast<Bits*>(args->d_dy), *d_x = static_cast<Bits*>(args->d_x);
        for_blocks(parallel, in, 4, [&](int64_t i, int64_t n, int64_t begin, int64_t end) {
            float *scale = scale_sums + i * forward.c, *bias = bias_sums + i * forward.c;
            for (int64_t c = 0; c < forward.c; ++c) scale[c] = bias[c] = 0;
            run(in.f, SecondBlock<decltype(type)>{in, given, dy, x, a, d_dy, d_x, noise_sums, scale, bias, n, begin, end});
        });
    });
    if (args->d_scale) sum_rows(scale_sums, forward.n, sums.blocks, forward.c, args->d_scale);
    if (args->d_b) sum_rows(bias_sums, 1, forward.n * sums.blocks, forward.c, args->d_b);
    if (args->d_noise && !in.noise_per_sample) sum_rows(all_noise, 1, forward.n, forward.pixels, args->d_noise);
    return error;
}
