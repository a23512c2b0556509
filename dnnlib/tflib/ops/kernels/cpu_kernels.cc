// CPU kernels of bias-act and the epilogue: what a layer does besides its convolution, in one pass over memory.
//
// Arithmetic is in float32 whatever the type of the tensors. Sums are taken over fixed blocks in a fixed order, so
// results do not depend on the number of threads. Loops marked `omp simd` become vector instructions. The ops are
// declared in ops.cc.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cpu_common.h"

namespace stylegan2 {

using tensorflow::errors::InvalidArgument;

// ---------------------------------------------------------------------------
// Activations: the value F(u) = clamp(gain * act(u)) and its first two derivatives.

enum class Act { linear, relu, lrelu, tanh, sigmoid, elu, selu, softplus, swish };

struct Activation {
    Act act;
    float alpha, gain, clamp;  // clamp: infinite for none
};

constexpr float kSeluScale = 1.0507009873554805f;
constexpr float kSeluAlpha = 1.6732632423543772f;

inline float sigmoid(float u) { return 1.f / (1.f + std::exp(-u)); }

float act_value(float u, const Activation& a) {
    switch (a.act) {
        case Act::linear: return u;
        case Act::relu: return u > 0 ? u : 0.f * (u != u ? u : 0.f);
        case Act::lrelu: return u > 0 ? u : u * a.alpha;
        case Act::tanh: return std::tanh(u);
        case Act::sigmoid: return sigmoid(u);
        case Act::elu: return u > 0 ? u : std::expm1(u);
        case Act::selu: return kSeluScale * (u > 0 ? u : kSeluAlpha * std::expm1(u));
        case Act::softplus: return std::max(u, 0.f) + std::log1p(std::exp(-std::abs(u)));
        case Act::swish: return u * sigmoid(u);
    }
    return u;
}

float act_slope(float u, const Activation& a) {
    const float t = std::tanh(u), s = sigmoid(u);
    switch (a.act) {
        case Act::linear: return 1.f;
        case Act::relu: return u > 0 ? 1.f : 0.f;
        case Act::lrelu: return u > 0 ? 1.f : a.alpha;
        case Act::tanh: return 1.f - t * t;
        case Act::sigmoid: return s * (1.f - s);
        case Act::elu: return u > 0 ? 1.f : std::exp(u);
        case Act::selu: return kSeluScale * (u >= 0 ? 1.f : kSeluAlpha * std::exp(u));
        case Act::softplus: return s;
        case Act::swish: return s * (1.f + u * (1.f - s));
    }
    return 1.f;
}

float act_curvature(float u, const Activation& a) {
    const float t = std::tanh(u), s = sigmoid(u);
    switch (a.act) {
        case Act::tanh: return -2.f * t * (1.f - t * t);
        case Act::sigmoid: return s * (1.f - s) * (1.f - 2.f * s);
        case Act::elu: return u > 0 ? 0.f : std::exp(u);
        case Act::selu: return u > 0 ? 0.f : kSeluScale * kSeluAlpha * std::exp(u);
        case Act::softplus: return s * (1.f - s);
        case Act::swish: return s * (1.f - s) * (2.f + u * (1.f - 2.f * s));
        default: return 0.f;
    }
}

// Loops are compiled twice: for the leaky ones (linear, lrelu), which become vector instructions, and for any.
template <bool leaky>
struct F {
    static inline float plain(float u, const Activation& a) {
        return leaky ? (u > 0 ? u : u * a.alpha) * a.gain : act_value(u, a) * a.gain;
    }
    static inline float value(float u, const Activation& a) {
        const float y = plain(u, a);
        return y > a.clamp ? a.clamp : y < -a.clamp ? -a.clamp : y;  // NaN stays NaN
    }
    static inline float slope(float u, const Activation& a) {
        const float d = leaky ? (u > 0 ? a.gain : a.gain * a.alpha) : act_slope(u, a) * a.gain;
        return std::abs(plain(u, a)) > a.clamp ? 0.f : d;
    }
    static inline float curvature(float u, const Activation& a) {
        return leaky || std::abs(plain(u, a)) > a.clamp ? 0.f : act_curvature(u, a) * a.gain;
    }
};

Activation read_activation(OpKernelConstruction* context) {
    static const char* names[] = {"linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"};
    Activation a{Act::linear, 0, 1, INFINITY};
    std::string name;
    auto check = [context](const tensorflow::Status& status) { context->CtxFailureWithWarning(status); };
    for (const auto& status : {context->GetAttr("act", &name), context->GetAttr("alpha", &a.alpha),
                               context->GetAttr("gain", &a.gain), context->GetAttr("clamp", &a.clamp)}) {
        if (!status.ok()) check(status);
    }
    const auto found = std::find(std::begin(names), std::end(names), name);
    if (found == std::end(names)) check(InvalidArgument("unknown activation ", name));
    a.act = static_cast<Act>(found - std::begin(names));
    if (a.act == Act::linear) a.alpha = 1;
    if (a.clamp < 0) a.clamp = INFINITY;
    return a;
}

// Calls loop.run<leaky>().
template <typename Loop>
void run(const Activation& a, Loop&& loop) {
    a.act == Act::linear || a.act == Act::lrelu ? loop.template run<true>() : loop.template run<false>();
}

// ---------------------------------------------------------------------------
// The epilogue: y = F(x * scale + noise + b).

// Views of the inputs of the epilogue; absent ones point at ones or zeros that fit.
struct EpilogueInputs {
    bool channels_last;
    int64_t samples, pixels, channels;
    bool has_scale, has_noise, has_bias, noise_per_sample;
    const float *scale_data, *noise_data, *bias_data;
    std::vector<float> ones, zeros;

    EpilogueInputs(const Tensor& x, const Tensor& scale, const Tensor& noise, const Tensor& b, bool last)
        : channels_last(last),
          samples(x.dim_size(0)),
          pixels(last ? x.dim_size(1) * x.dim_size(2) : x.dim_size(2) * x.dim_size(3)),
          channels(x.dim_size(last ? 3 : 1)),
          has_scale(scale.dims() == 2),
          has_noise(noise.dims() == 3),
          has_bias(b.dim_size(0) == channels && channels > 0),
          noise_per_sample(has_noise && noise.dim_size(0) == samples && samples > 1),
          scale_data(scale.flat<float>().data()),
          noise_data(noise.flat<float>().data()),
          bias_data(b.flat<float>().data()),
          ones(has_scale ? 0 : channels, 1.f),
          zeros(std::max(has_bias ? 0 : channels, has_noise ? 0 : pixels), 0.f) {}

    const float* scale(int64_t n) const { return has_scale ? scale_data + n * channels : ones.data(); }
    const float* bias() const { return has_bias ? bias_data : zeros.data(); }
    const float* noise(int64_t n) const {
        return has_noise ? noise_data + (noise_per_sample ? n * pixels : 0) : zeros.data();
    }
};

// The pixels [begin, end) of sample n.
template <typename T>
struct EpiloguePixels {
    using S = Stored<T>;
    const EpilogueInputs& in;
    const Activation& a;
    const typename S::Bits* x;
    typename S::Bits* y;
    int64_t n, begin, end;

    template <bool leaky>
    void run() {
        const int64_t C = in.channels;
        const Activation f = a;
        const float *s = in.scale(n), *b = in.bias(), *z = in.noise(n);
        if (in.channels_last) {
            for (int64_t p = begin; p < end; ++p) {
                const int64_t offset = (n * in.pixels + p) * C;
                const typename S::Bits* from = x + offset;
                typename S::Bits* to = y + offset;
                const float noise = z[p];
#pragma omp simd
                for (int64_t c = 0; c < C; ++c) {
                    to[c] = S::store(F<leaky>::value(S::load(from[c]) * s[c] + noise + b[c], f));
                }
            }
            return;
        }
        for (int64_t c = 0; c < C; ++c) {
            const int64_t offset = (n * C + c) * in.pixels;
            const typename S::Bits* from = x + offset;
            typename S::Bits* to = y + offset;
            const float scale = s[c], bias = b[c];
#pragma omp simd
            for (int64_t p = begin; p < end; ++p) {
                to[p] = S::store(F<leaky>::value(S::load(from[p]) * scale + z[p] + bias, f));
            }
        }
    }
};

constexpr int64_t kBlock = 512;  // pixels at once, and per partial sum

// Calls work(i, n, begin, end) for block i of pixels [begin, end) of sample n.
template <typename Work>
void for_blocks(OpKernelContext* context, const EpilogueInputs& in, int64_t cost, Work work) {
    const int64_t blocks = (in.pixels + kBlock - 1) / kBlock;
    parallel_for(context, in.samples * blocks, kBlock * in.channels * cost, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
            const int64_t begin = i % blocks * kBlock;
            work(i, i / blocks, begin, std::min(begin + kBlock, in.pixels));
        }
    });
}

template <typename T>
class Epilogue : public OpKernel {
  public:
    explicit Epilogue(OpKernelConstruction* context) : OpKernel(context), a_(read_activation(context)) {
        OP_REQUIRES_OK(context, context->GetAttr("channels_last", &channels_last_));
    }

    void Compute(OpKernelContext* context) override {
        const Tensor& x = context->input(0);
        const bool fits = epilogue_fits(x, context->input(1), context->input(2), context->input(3), channels_last_);
        OP_REQUIRES(context, fits, InvalidArgument("epilogue: parameters do not fit x"));
        Tensor* y = nullptr;
        OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &y));
        if (x.NumElements() == 0) return;
        const EpilogueInputs in(x, context->input(1), context->input(2), context->input(3), channels_last_);
        for_blocks(context, in, 1, [&](int64_t, int64_t n, int64_t begin, int64_t end) {
            run(a_, EpiloguePixels<T>{in, a_, bits<T>(x), bits<T>(y), n, begin, end});
        });
    }

  private:
    Activation a_;
    bool channels_last_;
};

template <typename T>
struct EpilogueGradBlock {
    using S = Stored<T>;
    const EpilogueInputs& in;
    const Activation& a;
    const typename S::Bits *dy, *x;
    typename S::Bits* dx;
    float *noise_sums, *scale_sums, *bias_sums;  // noise_sums: [N, P] or null; the others: [C] of this block
    int64_t n, begin, end;                       // pixels of sample n

    template <bool leaky>
    void run() {
        const int64_t C = in.channels;
        const Activation f = a;
        const float *s = in.scale(n), *b = in.bias(), *z = in.noise(n);
        float *ds = scale_sums, *db = bias_sums, *dz = noise_sums ? noise_sums + n * in.pixels : nullptr;
        if (in.channels_last) {
            for (int64_t p = begin; p < end; ++p) {
                const int64_t offset = (n * in.pixels + p) * C;
                const typename S::Bits *g = dy + offset, *from = x + offset;
                typename S::Bits* to = dx + offset;
                const float noise = z[p];
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int64_t c = 0; c < C; ++c) {
                    const float v = S::load(from[c]);
                    const float du = S::load(g[c]) * F<leaky>::slope(v * s[c] + noise + b[c], f);
                    to[c] = S::store(du * s[c]);
                    ds[c] += du * v;
                    db[c] += du;
                    sum += du;
                }
                if (dz) dz[p] = sum;
            }
            return;
        }
        std::vector<float> sums(end - begin, 0.f);
        for (int64_t c = 0; c < C; ++c) {
            const int64_t offset = (n * C + c) * in.pixels;
            const typename S::Bits *g = dy + offset, *from = x + offset;
            typename S::Bits* to = dx + offset;
            const float scale = s[c], bias = b[c];
            float scale_sum = 0, bias_sum = 0;
#pragma omp simd reduction(+ : scale_sum, bias_sum)
            for (int64_t p = begin; p < end; ++p) {
                const float v = S::load(from[p]);
                const float du = S::load(g[p]) * F<leaky>::slope(v * scale + z[p] + bias, f);
                to[p] = S::store(du * scale);
                scale_sum += du * v;
                bias_sum += du;
                sums[p - begin] += du;
            }
            ds[c] = scale_sum;
            db[c] = bias_sum;
        }
        if (dz) std::copy(sums.begin(), sums.end(), dz + begin);
    }
};

template <typename T>
class EpilogueGrad : public OpKernel {
  public:
    explicit EpilogueGrad(OpKernelConstruction* context) : OpKernel(context), a_(read_activation(context)) {
        OP_REQUIRES_OK(context, context->GetAttr("channels_last", &channels_last_));
    }

    void Compute(OpKernelContext* context) override {
        const Tensor &dy = context->input(0), &x = context->input(1);
        const bool fits = epilogue_fits(x, context->input(2), context->input(3), context->input(4), channels_last_);
        OP_REQUIRES(context, fits && dy.shape() == x.shape(),
                    InvalidArgument("epilogue: parameters or dy do not fit x"));
        const EpilogueInputs in(x, context->input(2), context->input(3), context->input(4), channels_last_);
        Tensor *dx = nullptr, *dscale = nullptr, *dnoise = nullptr, *db = nullptr;
        OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &dx));
        OP_REQUIRES_OK(context, context->allocate_output(1, context->input(2).shape(), &dscale));
        OP_REQUIRES_OK(context, context->allocate_output(2, context->input(3).shape(), &dnoise));
        OP_REQUIRES_OK(context, context->allocate_output(3, context->input(4).shape(), &db));
        const int64_t C = in.channels, blocks = (in.pixels + kBlock - 1) / kBlock;
        std::vector<float> scale_sums(in.samples * blocks * C), bias_sums(in.samples * blocks * C);
        std::vector<float> all_noise(in.has_noise && !in.noise_per_sample ? in.samples * in.pixels : 0);
        float* noise_sums = !in.has_noise         ? nullptr
                            : in.noise_per_sample ? dnoise->flat<float>().data()
                                                  : all_noise.data();
        for_blocks(context, in, 3, [&](int64_t i, int64_t n, int64_t begin, int64_t end) {
            run(a_, EpilogueGradBlock<T>{in, a_, bits<T>(dy), bits<T>(x), bits<T>(dx), noise_sums, &scale_sums[i * C],
                                         &bias_sums[i * C], n, begin, end});
        });
        if (in.has_scale) sum_rows(scale_sums, in.samples, blocks, C, dscale->flat<float>().data());
        if (in.has_bias) sum_rows(bias_sums, 1, in.samples * blocks, C, db->flat<float>().data());
        if (!all_noise.empty()) sum_rows(all_noise, 1, in.samples, in.pixels, dnoise->flat<float>().data());
    }

  private:
    // [groups, rows, columns] -> [groups, columns], in order.
    static void sum_rows(const std::vector<float>& from, int64_t groups, int64_t rows, int64_t columns, float* to) {
        std::vector<double> total(columns);
        for (int64_t g = 0; g < groups; ++g) {
            std::fill(total.begin(), total.end(), 0.0);
            for (int64_t r = 0; r < rows; ++r) {
                const float* row = &from[(g * rows + r) * columns];
                for (int64_t c = 0; c < columns; ++c) total[c] += row[c];
            }
            for (int64_t c = 0; c < columns; ++c) to[g * columns + c] = static_cast<float>(total[c]);
        }
    }

    Activation a_;
    bool channels_last_;
};

// ---------------------------------------------------------------------------
// Bias and activation: F(x + b), v * F'(x + b) or v * F''(x + b).

template <typename T>
struct BiasActRows {
    using S = Stored<T>;
    const Activation& a;
    int grad;
    int64_t inner, channels, length, total;  // length: of a row; the last row may be shorter
    const float* b;                          // null: none
    const typename S::Bits *x, *v;
    typename S::Bits* y;
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
            const int64_t offset = row * length, count = std::min(length, total - offset);
            const typename S::Bits *from = x + offset, *factor = v ? v + offset : from;
            typename S::Bits* to = y + offset;
            if (b && inner == 1) {
#pragma omp simd
                for (int64_t i = 0; i < count; ++i) to[i] = S::store(func(S::load(from[i]) + b[i], S::load(factor[i])));
            } else {
                const float shared = b ? b[row % channels] : 0.f;
#pragma omp simd
                for (int64_t i = 0; i < count; ++i)
                    to[i] = S::store(func(S::load(from[i]) + shared, S::load(factor[i])));
            }
        }
    }
};

template <typename T>
class BiasAct : public OpKernel {
  public:
    explicit BiasAct(OpKernelConstruction* context) : OpKernel(context), a_(read_activation(context)) {
        OP_REQUIRES_OK(context, context->GetAttr("grad", &grad_));
        OP_REQUIRES_OK(context, context->GetAttr("inner", &inner_));
    }

    void Compute(OpKernelContext* context) override {
        const Tensor &x = context->input(0), &b = context->input(1), &v = context->input(2);
        OP_REQUIRES(context, bias_act_fits(x, b, v, grad_, inner_), InvalidArgument("bias_act: b or v does not fit x"));
        Tensor* y = nullptr;
        OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &y));
        const int64_t total = x.NumElements();
        if (total == 0) return;
        const float* bias = b.NumElements() > 0 ? b.flat<float>().data() : nullptr;
        const int64_t channels = bias ? b.NumElements() : 1, inner = bias ? inner_ : 1;
        // Few channels are repeated to make rows that are worth a loop.
        const int64_t repeats = inner > 1 ? 1 : std::max<int64_t>(512 / channels, 1);
        std::vector<float> repeated(bias && repeats > 1 ? repeats * channels : 0);
        for (size_t i = 0; i < repeated.size(); ++i) repeated[i] = bias[i % channels];
        const int64_t length = inner > 1 ? inner : repeats * channels;
        BiasActRows<T> rows{a_,
                            grad_,
                            inner,
                            channels,
                            length,
                            total,
                            repeated.empty() ? bias : repeated.data(),
                            bits<T>(x),
                            grad_ ? bits<T>(v) : nullptr,
                            bits<T>(y),
                            0,
                            0};
        parallel_for(context, (total + length - 1) / length, length * 2, [&](int64_t begin, int64_t end) {
            BiasActRows<T> part = rows;
            part.begin = begin;
            part.end = end;
            run(a_, part);
        });
    }

  private:
    Activation a_;
    int grad_ = 0;
    int64_t inner_ = 1;
};

#define REGISTER(T)                                                                                           \
    REGISTER_KERNEL_BUILDER(Name("StyleganBiasAct").Device(DEVICE_CPU).TypeConstraint<T>("T"), BiasAct<T>);   \
    REGISTER_KERNEL_BUILDER(Name("StyleganEpilogue").Device(DEVICE_CPU).TypeConstraint<T>("T"), Epilogue<T>); \
    REGISTER_KERNEL_BUILDER(Name("StyleganEpilogueGrad").Device(DEVICE_CPU).TypeConstraint<T>("T"), EpilogueGrad<T>)
REGISTER(float);
REGISTER(Eigen::bfloat16);
REGISTER(Eigen::half);
#undef REGISTER

}  // namespace stylegan2
