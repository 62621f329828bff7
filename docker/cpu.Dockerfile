# syntax=docker/dockerfile:1
# i2i without a GPU. From the repository root:
#
#   docker build -f docker/cpu.Dockerfile -t i2i:cpu .
#   docker run --rm -v "$PWD/runs:/home/i2i/runs" i2i:cpu train cyclegan_demo
#
# The installation is the one of the README, a plain `pip install .`: torch and torchvision then come from one index and
# fit each other, whereas mixing PyTorch's CPU index with the usual one can pair versions that don't. The price is that
# the image also carries torch's unused CUDA libraries.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    NO_ALBUMENTATIONS_UPDATE=1

WORKDIR /opt/i2i
COPY . .
RUN pip install . && useradd --create-home --uid 1000 i2i && install -d -o i2i -g i2i /home/i2i/runs

# No root at run time. A mounted folder must be writable for user 1000 (or add `--user "$(id -u):$(id -g)"`).
USER 1000
WORKDIR /home/i2i
VOLUME /home/i2i/runs
ENTRYPOINT ["i2i"]
CMD ["--help"]
