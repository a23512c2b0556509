// TensorFlow's kernels of the ops that update variables, and of the keys of random numbers; see op_kernels.cc.

#include <vector>

#include "op_devices.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/lib/random/philox_random.h"

namespace {

struct CpuVariables : CpuDevice {
    static constexpr auto adam = stylegan2_cpu_adam;
    static constexpr auto average = stylegan2_cpu_average;
    static constexpr auto copy = stylegan2_cpu_copy;
    static constexpr auto random_key = stylegan2_cpu_random_key;
};

#ifdef STYLEGAN2_CUDA
struct GpuVariables : GpuDevice {
    static constexpr auto adam = stylegan2_adam;
    static constexpr auto average = stylegan2_average;
    static constexpr auto copy = stylegan2_copy;
    static constexpr auto random_key = stylegan2_random_key;
};
#endif

// The values of variables, while a kernel is started that reads or updates them.
template <typename Device>
class Variables {
public:
    explicit Variables(OpKernelContext* ctx) : ctx_(ctx) {}

    // The elements of the variable that is an input of the op. For update: whoever has read it keeps what it has read. Null
    // if that fails, which the context says then.
    float* Data(int input, bool update, int64_t* size) {
        core::RefCountPtr<Var> variable;
        const Status found = LookupResource(ctx_, HandleFromInput(ctx_, input), &variable);
        if (!found.ok()) return Fail(found);
        mutex_lock lock(*variable->mu());
        Tensor* value = variable->tensor();
        if (!variable->is_initialized || value->dtype() != DT_FLOAT) {
            return Fail(errors::FailedPrecondition("a variable has no value, or is not of float32"));
        }
        if (update && !value->RefCountIsOne()) {
            Tensor own;
            AllocatorAttributes attributes;
            attributes.set_gpu_compatible(true);
            const Status allocated = ctx_->allocate_temp(DT_FLOAT, value->shape(), &own, attributes);
            if (!allocated.ok()) return Fail(allocated);
            const CopyArgs args = {own.data(), value->data(), static_cast<int64_t>(value->TotalBytes())};
            Device::Run(ctx_, "copy of a variable", Device::copy, args);
            *value = own;
        }
        *size = value->NumElements();
        float* data = value->flat<float>().data();
        if (!update) read_.push_back(*value);
        kept_.push_back(std::move(variable));
        return data;
    }

private:
    float* Fail(const Status& status) {
        ctx_->CtxFailure(status);
        return nullptr;
    }

    OpKernelContext* ctx_;
    std::vector<Tensor> read_;  // so that others replace it before they write
    std::vector<core::RefCountPtr<Var>> kept_;
};

template <typename Device>
class AdamOp : public OpKernel {
public:
    explicit AdamOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
        OP_REQUIRES_OK(ctx, ctx->GetAttr("N", &count_));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("beta1", &args_.beta1));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("beta2", &args_.beta2));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("epsilon", &args_.epsilon));
    }

    void Compute(OpKernelContext* ctx) override {
        AdamArgs a = args_;
        Variables<Device> variables(ctx);
        std::vector<AdamTensor> tensors(count_);
        for (int i = 0; i < count_; i++) {
            AdamTensor& t = tensors[i];
            float** const places[] = {&t.var, &t.m, &t.v};
            const Tensor& grad = ctx->input(3 * count_ + i);
            t.grad = grad.flat<float>().data();
            t.size = grad.NumElements();
            for (int k = 0; k < 3; k++) {
                int64_t size;
                *places[k] = variables.Data(k * count_ + i, true, &size);
                if (!ctx->status().ok()) return;
                OP_REQUIRES(ctx, size == t.size, errors::InvalidArgument("adam: gradient ", i, " has another size"));
            }
        }
        int64_t one[2];
        a.beta1_power = variables.Data(4 * count_, true, &one[0]);
        if (!ctx->status().ok()) return;
        a.beta2_power = variables.Data(4 * count_ + 1, true, &one[1]);
        if (!ctx->status().ok()) return;
        const Tensor& lr = ctx->input(4 * count_ + 2);
        OP_REQUIRES(ctx, one[0] == 1 && one[1] == 1 && lr.NumElements() == 1,
                    errors::InvalidArgument("adam: powers and learning rate are one number each"));
        a.lr = lr.flat<float>()(0);
        a.tensors = tensors.data(), a.count = count_;
        Tensor* finite = nullptr;
        OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({}), &finite));
        a.finite = static_cast<uint8_t*>(finite->data());
        Device::Run(ctx, "adam", Device::adam, a);
    }

private:
    int count_ = 0;
    AdamArgs args_ = {};
};

template <typename Device>
class AverageOp : public OpKernel {
public:
    explicit AverageOp(OpKernelConstruction* ctx) : OpKernel(ctx) { OP_REQUIRES_OK(ctx, ctx->GetAttr("N", &count_)); }

    void Compute(OpKernelContext* ctx) override {
        Variables<Device> variables(ctx);
        std::vector<AverageTensor> tensors(count_);
        for (int i = 0; i < count_; i++) {
            int64_t size;
            tensors[i].average = variables.Data(i, true, &tensors[i].size);
            if (!ctx->status().ok()) return;
            tensors[i].value = variables.Data(count_ + i, false, &size);
            if (!ctx->status().ok()) return;
            OP_REQUIRES(ctx, size == tensors[i].size, errors::InvalidArgument("average: variable ", i, " has another size"));
        }
        const Tensor& weight = ctx->input(2 * count_);
        OP_REQUIRES(ctx, weight.NumElements() == 1, errors::InvalidArgument("average: the weight is one number"));
        Device::Run(ctx, "average", Device::average, AverageArgs{tensors.data(), count_, weight.flat<float>()(0)});
    }

private:
    int count_ = 0;
};

template <typename Device>
class RandomKeyOp : public OpKernel {
public:
    explicit RandomKeyOp(OpKernelConstruction* ctx) : OpKernel(ctx) { OP_REQUIRES_OK(ctx, ctx->GetAttr("draw", &draw_)); }

    void Compute(OpKernelContext* ctx) override {
        const Tensor& seed = ctx->input(0);
        OP_REQUIRES(ctx, seed.NumElements() == 2, errors::InvalidArgument("random_key: a seed is two numbers"));
        const uint64 first = seed.flat<int64_t>()(0), second = seed.flat<int64_t>()(1) + draw_;
        random::PhiloxRandom::ResultType block;
        block[0] = static_cast<uint32>(first), block[1] = static_cast<uint32>(first >> 32);
        block[2] = static_cast<uint32>(second), block[3] = static_cast<uint32>(second >> 32);
        random::PhiloxRandom::Key key;  // with which TensorFlow hashes seeds
        key[0] = 0x3EC8F720u, key[1] = 0x02461E29u;
        const random::PhiloxRandom::ResultType mix = random::PhiloxRandom(block, key)();
        Tensor *keys = nullptr, *counters = nullptr;
        OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({1}), &keys));
        OP_REQUIRES_OK(ctx, ctx->allocate_output(1, TensorShape({2}), &counters));
        RandomKeyArgs a = {};
        a.key = static_cast<uint64_t*>(keys->data()), a.counter = static_cast<uint64_t*>(counters->data());
        a.key_value = mix[0] | static_cast<uint64_t>(mix[1]) << 32;
        a.counter_value = mix[2] | static_cast<uint64_t>(mix[3]) << 32;
        Device::Run(ctx, "random_key", Device::random_key, a);
    }

private:
    int64_t draw_ = 0;
};

#define REGISTER(DEVICE, KERNELS)                                                                           \
    REGISTER_KERNEL_BUILDER(Name("StyleganAdam")                                                            \
                                .Device(DEVICE)                                                             \
                                .TypeConstraint<float>("T")                                                 \
                                .HostMemory("var")                                                          \
                                .HostMemory("m")                                                            \
                                .HostMemory("v")                                                            \
                                .HostMemory("beta1_power")                                                  \
                                .HostMemory("beta2_power")                                                  \
                                .HostMemory("lr"),                                                          \
                            AdamOp<KERNELS>);                                                               \
    REGISTER_KERNEL_BUILDER(Name("StyleganAverage")                                                         \
                                .Device(DEVICE)                                                             \
                                .TypeConstraint<float>("T")                                                 \
                                .HostMemory("average")                                                      \
                                .HostMemory("value")                                                        \
                                .HostMemory("weight"),                                                      \
                            AverageOp<KERNELS>);                                                            \
    REGISTER_KERNEL_BUILDER(                                                                                \
        Name("StyleganRandomKey").Device(DEVICE).TypeConstraint<float>("T").HostMemory("seed"), RandomKeyOp<KERNELS>)

REGISTER(DEVICE_CPU, CpuVariables);
#ifdef STYLEGAN2_CUDA
REGISTER(DEVICE_GPU, GpuVariables);
#endif

}  // namespace
