# syntax=docker/dockerfile:1
# i2i on NVIDIA GPUs. The host needs NVIDIA's driver and its container toolkit. From the repository root:
#
#   docker build -f docker/cuda.Dockerfile -t i2i:cuda .
#   docker run --rm --gpus all --ipc=host -v "$PWD/runs:/home/i2i/runs" i2i:cuda train cyclegan_demo
#
# `--ipc=host`: data workers hand over pictures in shared memory, and the 64 MB a container gets are too few.
#
# A plain Python image is enough: torch's wheels bring the CUDA runtime, cuDNN and NCCL of the version that they were built
# for; from the host comes only the driver. An nvidia/cuda base image would put a second, unused copy beside them.
FROM python:3.12-slim

# The container toolkit reads these: which GPUs, and which parts of the driver.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    NO_ALBUMENTATIONS_UPDATE=1

# torch.compile builds its kernels' launchers with a C compiler at run time.
# Debian keeps only the newest version of a package: a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/i2i
COPY . .
RUN pip install . && useradd --create-home --uid 1000 i2i && install -d -o i2i -g i2i /home/i2i/runs

# No root at run time. A mounted folder must be writable for user 1000 (or add `--user "$(id -u):$(id -g)"`).
USER 1000
WORKDIR /home/i2i
VOLUME /home/i2i/runs
ENTRYPOINT ["i2i"]
CMD ["--help"]
