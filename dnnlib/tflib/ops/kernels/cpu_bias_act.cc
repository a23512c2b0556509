// CPU kernel of bias and activation: F(x + b), v * F'(x + b) or v * F''(x + b).

#include "cpu_pointwise.h"

namespace {

template <typename T>
struct BiasActRows {
    const Pointwise& a;
    int grad;
    int64_t inner, channels, length, total;  // length: of a row; the last row may be shorter
    const float* b;                          // null: none
    const typename T::Bits *x, *v;
    typename T::Bits* y;
    int64_t begin, end;  // rows: of one channel each (inner > 1), or of all channels in turn (inner == 1)

    template <bool leaky>
    void run() {
        if (grad == 0) rows([f = a](float u, float) { return F<leaky>::value(u, f); });
        if (grad == 1) rows([f = a](float u, float v) { return v * F<leaky>::slope(u, f); });
        if (grad == 2) rows([f = a](float u, float v) { return v * F<leaky>::curvature(u, f); });
    }

    template <typename Func>
    void rows(Func func) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t offset = row * length, count = least(length, total - offset);
            const typename T::Bits *from = x + offset, *factor = v ? v + offset : from;
            typename T::Bits* to = y + offset;
            if (b && inner == 1) {
#pragma omp simd
                for (int64_t i = 0; i < count; ++i) to[i] = T::store(func(T::load(from[i]) + b[i], T::load(factor[i])));
            } else {
                const float shared = b ? b[row % channels] : 0.f;
#pragma omp simd
                for (int64_t i = 0; i < count; ++i)
                    to[i] = T::store(func(T::load(from[i]) + shared, T::load(factor[i])));
            }
        }
    }
};

}  // namespace

extern "C" int stylegan2_cpu_bias_act(const BiasActArgs* args, const Parallel* parallel) {
    if (args->order < 0 || args->order > 2) return 1;
    const Pointwise f = make_pointwise(args->f);
    const int64_t channels = args->b ? args->c : 1, inner = args->b ? args->inner : 1;
    // Few channels are repeated to make rows that are worth a loop.
    const int64_t repeats = inner > 1 ? 1 : most(512 / channels, 1);
    Vector<float> repeated(args->b && repeats > 1 ? repeats * channels : 0);
    for (size_t i = 0; i < repeated.size(); ++i) repeated[i] = args->b[i % channels];
    const int64_t length = inner > 1 ? inner : repeats * channels;
    const float* b = repeated.empty() ? args->b : repeated.data();
    return with_type(args->dtype, [&](auto type) {
        using T = decltype(type);
        using Bits = typename T::Bits;
        const auto *x = static_cast<const Bits*>(args->x), *v = static_cast<const Bits*>(args->order ? args->v : nullptr);
        auto* y = static_cast<Bits*>(args->y);
        parallel_for(parallel, (args->size + length - 1) / length, length * 2, [&](int64_t begin, int64_t end) {
            run(f, BiasActRows<T>{f, args->order, inner, channels, length, args->size, b, x, v, y, begin, end});
        });
    });
}
