# syntax=docker/dockerfile:1
# Images that run as a user without privileges. The entry point is the command `workbench`.
#
#   docker build --target cpu -t image-workbench:cpu .
#   docker build --target gpu -t image-workbench:gpu .              NVIDIA cards up to RTX 40xx and H100
#   docker build --target blackwell -t image-workbench:blackwell .  RTX 50xx
#   docker run --rm -v "$PWD:/work" image-workbench:cpu train --data photos
#   docker run --rm --gpus all -v "$PWD:/work" image-workbench:gpu train --data photos
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY pyproject.toml requirements.txt README.md LICENSE CHANGELOG.md ./
COPY configs configs
COPY cnn_scratch cnn_scratch
COPY transfer transfer
COPY workbench workbench
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# tensorflow-cpu has no code for GPUs, and half the size. There is none for ARM, where tensorflow has no such code either.
FROM wheel AS cpu-packages
RUN python -m venv /opt/venv \
    && if [ "$(uname -m)" = x86_64 ]; then sed -i 's/^tensorflow>/tensorflow-cpu>/' requirements.txt; fi \
    && /opt/venv/bin/pip install --no-cache-dir -r requirements.txt \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps /wheels/*.whl

FROM wheel AS gpu-packages
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir "$(echo /wheels/*.whl)[gpu,ray]" "ray[default]>=2.49,<3"

# Any user may write to HOME, so that `docker run --user` works: decoded images and downloaded weights are cached there.
FROM python:${PYTHON}-slim AS base
ENV HOME=/home/workbench PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --uid 1000 --home-dir "$HOME" workbench && install -d -m 1777 "$HOME" /work
WORKDIR /work
USER 1000
ENTRYPOINT ["workbench"]
CMD ["--help"]

FROM base AS cpu
COPY --from=cpu-packages /opt/venv /opt/venv

FROM base AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=gpu-packages /opt/venv /opt/venv

# The published TensorFlow has no code for RTX 50xx. NVIDIA's last image has TensorFlow 2.17, with NumPy 1; both are kept.
FROM nvcr.io/nvidia/tensorflow:25.02-tf2-py3 AS blackwell
ENV HOME=/home/workbench PYTHONUNBUFFERED=1 PIP_CONSTRAINT=""
COPY requirements.txt /tmp/
COPY --from=wheel /wheels /wheels
RUN sed -i -E '/^(tensorflow|tensorboard|numpy)>/d' /tmp/requirements.txt \
    && pip install --no-cache-dir -r /tmp/requirements.txt "numpy<2" \
    && pip install --no-cache-dir --no-deps /wheels/*.whl \
    && rm -r /tmp/requirements.txt /wheels \
    && install -d -m 1777 "$HOME" /work
WORKDIR /work
USER 1000
ENTRYPOINT ["workbench"]
CMD ["--help"]
