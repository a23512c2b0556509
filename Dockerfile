# StyleGAN2 for TensorFlow 2 and Keras, installed, with the custom ops built ahead. docs/containers.md has more.
#
#   docker build --tag stylegan2 .                                    for CPUs
#   docker build --tag stylegan2:gpu --build-arg DEVICE=gpu .         for NVIDIA GPUs
#   docker run --rm --volume "$PWD:/work" stylegan2 generate generate-images --network=demo/symbols-32x32.pkl --seeds=0-7

ARG DEVICE=cpu

FROM ubuntu:24.04 AS tools-cpu
FROM nvidia/cuda:12.6.3-devel-ubuntu24.04 AS tools-gpu

# ----------------------------------------------------------------------------
# Everything is put into /opt/stylegan2, with compilers that the image itself has not.
# hadolint ignore=DL3006
FROM tools-${DEVICE} AS build
ARG DEVICE
# What the custom ops are compiled for: processors of the last ten years; with nvcc all GPUs that it knows, or --arch=80,90.
ARG OPS="--cpu=x86-64-v3"
SHELL ["/bin/sh", "-euc"]
# Which versions of Ubuntu's packages, its release says.
# hadolint ignore=DL3008
RUN apt-get update; \
    apt-get install --yes --no-install-recommends g++ git python3-dev python3-venv; \
    rm -rf /var/lib/apt/lists/*
COPY . /src
WORKDIR /src
# The versions of all packages are those of the lock file; TensorFlow itself says which it takes of CUDA.
# hadolint ignore=DL3042
RUN --mount=type=cache,target=/root/.cache/pip \
    case "$DEVICE" in cpu) extras=hdf5,lmdb,safetensors,video ;; gpu) extras=hdf5,lmdb,safetensors,video,gpu ;; esac; \
    python3 -m venv /opt/stylegan2; \
    /opt/stylegan2/bin/pip install --constraint requirements.lock ".[$extras]"
RUN STYLEGAN2_OPS_CACHE=/opt/stylegan2/ops /opt/stylegan2/bin/stylegan2 doctor --build $OPS

# ----------------------------------------------------------------------------
FROM ubuntu:24.04
SHELL ["/bin/sh", "-euc"]
# hadolint ignore=DL3008
RUN apt-get update; \
    apt-get install --yes --no-install-recommends python3; \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/stylegan2 /opt/stylegan2
ENV PATH=/opt/stylegan2/bin:$PATH \
    STYLEGAN2_OPS_CACHE=/opt/stylegan2/ops \
    STYLEGAN2_CACHE_DIR=/cache \
    XDG_CACHE_HOME=/cache \
    MPLCONFIGDIR=/cache/matplotlib \
    HOME=/work \
    PYTHONDONTWRITEBYTECODE=1
# Whoever runs it, by --user, can write there, and nowhere else.
RUN install --directory --mode=1777 /cache /work
USER 1000:1000
WORKDIR /work
VOLUME ["/cache", "/work"]
ENTRYPOINT ["stylegan2"]
CMD ["--help"]
