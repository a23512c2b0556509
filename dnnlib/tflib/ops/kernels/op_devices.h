// Devices on which TensorFlow's kernels run: how they call the kernels of kernels.h there.

#pragma once

#include "kernels.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/register_types.h"
#include "tensorflow/core/util/work_sharder.h"
#ifdef STYLEGAN2_CUDA
#include "xla/stream_executor/stream.h"
#endif

namespace {

using namespace tensorflow;

struct CpuDevice {
    template <typename Args>
    static void Run(OpKernelContext* ctx, const char* op, int (*kernel)(const Args*, const Parallel*), const Args& args) {
        auto run = [](const Parallel* self, int64_t total, int64_t cost, void (*work)(void*, int64_t, int64_t),
                      void* context) {
            const auto& threads = *static_cast<const DeviceBase::CpuWorkerThreads*>(self->workers);
            Shard(threads.num_threads, threads.workers, total, cost,
                  [work, context](int64_t begin, int64_t end) { work(context, begin, end); });
        };
        const Parallel parallel = {run, const_cast<void*>(static_cast<const void*>(
                                            ctx->device()->tensorflow_cpu_worker_threads()))};
        OP_REQUIRES(ctx, kernel(&args, &parallel) == 0, errors::Internal(op, ": a type or order that the kernel does not know"));
    }
};

#ifdef STYLEGAN2_CUDA
struct GpuDevice {
    template <typename Args>
    static void Run(OpKernelContext* ctx, const char* op, int (*kernel)(const Args*, void*), const Args& args) {
        void* stream = ctx->op_device_context()->stream()->platform_specific_handle().stream;
        const int error = kernel(&args, stream);
        OP_REQUIRES(ctx, error == 0, errors::Internal(op, ": CUDA error ", error, ": ", stylegan2_cuda_error(error)));
    }
};
#endif

}  // namespace
