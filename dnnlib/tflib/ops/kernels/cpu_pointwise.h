// The pointwise function of the CPU kernels: F(u) = clamp(gain * act(u)), and its first two derivatives.

#pragma once

#include <algorithm>
#include <cmath>

#include "cpu_common.h"

namespace {

struct Pointwise {
    int32_t act;
    float alpha, gain, clamp;  // clamp: infinite for none
};

inline Pointwise make_pointwise(const PointwiseArgs& f) {
    return {f.act, f.act == kLinear ? 1.f : f.alpha, f.gain, f.clamp < 0 ? INFINITY : f.clamp};
}

constexpr float kSeluScale = 1.0507009873554805f;
constexpr float kSeluAlpha = 1.6732632423543772f;

inline float sigmoid(float u) { return 1.f / (1.f + std::exp(-u)); }

inline float act_value(float u, const Pointwise& a) {
    switch (a.act) {
        case kLinear: return u;
        case kRelu: return u > 0 ? u : 0.f * (u != u ? u : 0.f);
        case kLrelu: return u > 0 ? u : u * a.alpha;
        case kTanh: return std::tanh(u);
        case kSigmoid: return sigmoid(u);
        case kElu: return u > 0 ? u : std::expm1(u);
        case kSelu: return kSeluScale * (u > 0 ? u : kSeluAlpha * std::expm1(u));
        case kSoftplus: return std::max(u, 0.f) + std::log1p(std::exp(-std::abs(u)));
        case kSwish: return u * sigmoid(u);
    }
    return u;
}

inline float act_slope(float u, const Pointwise& a) {
    const float t = std::tanh(u), s = sigmoid(u);
    switch (a.act) {
        case kLinear: return 1.f;
        case kRelu: return u > 0 ? 1.f : 0.f;
        case kLrelu: return u > 0 ? 1.f : a.alpha;
        case kTanh: return 1.f - t * t;
        case kSigmoid: return s * (1.f - s);
        case kElu: return u > 0 ? 1.f : std::exp(u);
        case kSelu: return kSeluScale * (u >= 0 ? 1.f : kSeluAlpha * std::exp(u));
        case kSoftplus: return s;
        case kSwish: return s * (1.f + u * (1.f - s));
    }
    return 1.f;
}

inline float act_curvature(float u, const Pointwise& a) {
    const float t = std::tanh(u), s = sigmoid(u);
    switch (a.act) {
        case kTanh: return -2.f * t * (1.f - t * t);
        case kSigmoid: return s * (1.f - s) * (1.f - 2.f * s);
        case kElu: return u > 0 ? 0.f : std::exp(u);
        case kSelu: return u > 0 ? 0.f : kSeluScale * kSeluAlpha * std::exp(u);
        case kSoftplus: return s * (1.f - s);
        case kSwish: return s * (1.f - s) * (2.f + u * (1.f - 2.f * s));
        default: return 0.f;
    }
}

// Loops are compiled twice: for the leaky ones (linear, lrelu), which become vector instructions, and for any.
template <bool leaky>
struct F {
    static inline float plain(float u, const Pointwise& a) {
        return leaky ? (u > 0 ? u : u * a.alpha) * a.gain : act_value(u, a) * a.gain;
    }
    static inline float value(float u, const Pointwise& a) {
        const float y = plain(u, a);
        return y > a.clamp ? a.clamp : y < -a.clamp ? -a.clamp : y;  // NaN stays NaN
    }
    static inline float slope(float u, const Pointwise& a) {
        const float d = leaky ? (u > 0 ? a.gain : a.gain * a.alpha) : act_slope(u, a) * a.gain;
        return std::abs(plain(u, a)) > a.clamp ? 0.f : d;
    }
    static inline float curvature(float u, const Pointwise& a) {
        return leaky || std::abs(plain(u, a)) > a.clamp ? 0.f : act_curvature(u, a) * a.gain;
    }
};

// Calls loop.run<leaky>().
template <typename Loop>
inline void run(const Pointwise& a, Loop&& loop) {
    a.act == kLinear || a.act == kLrelu ? loop.template run<true>() : loop.template run<false>();
}

}  // namespace
