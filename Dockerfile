# Rethink in a container, for a CPU:
#     docker build -t rethink .
#     mkdir -p runs        # else Docker makes the folder, as root's, and a run cannot write to it
#     docker run --rm -v "$PWD/runs:/rethink/runs" rethink train --config configs/quickstart.yaml
#     docker run --rm -p 8000:8000 -v "$PWD/runs:/rethink/runs" rethink serve runs/quickstart/checkpoints/checkpoint-100 --host 0.0.0.0
# and for NVIDIA GPUs, with the NVIDIA Container Toolkit on the host (torch brings CUDA, the image needs none):
#     docker build --build-arg DEVICE=cuda -t rethink:cuda .
#     docker run --rm --gpus all --shm-size 8g -v "$PWD/runs:/rethink/runs" rethink:cuda train --config configs/quickstart.yaml
# torch for a CPU alone is a fifth of the size; it is taken where pip's index has it:
#     docker build --build-arg PIP_EXTRA_INDEX_URL=<PyTorch's index of CPU builds> -t rethink .
FROM python:3.12-slim-bookworm

ARG DEVICE=cpu
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 \
    HF_HUB_DISABLE_TELEMETRY=1 HF_HOME=/rethink/runs/.huggingface RETHINK_CACHE=/rethink/runs/.cache

# g++ compiles the rollout engine's kernels for the processor at hand; bubblewrap jails the programs of the code task.
# It needs namespaces, which Docker's default profile refuses: docker run --security-opt seccomp=unconfined.
# Debian's index keeps one version of a package, so none is pinned.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ bubblewrap && rm -rf /var/lib/apt/lists/*

WORKDIR /rethink
COPY requirements.txt requirements-cpu.txt requirements-cuda.txt ./
RUN case "$DEVICE" in \
        cpu) pip install --no-deps --require-hashes -r requirements-cpu.txt \
                || echo "torch for a CPU alone is not to be had; taking the build with CUDA" ;; \
        cuda) ;; \
        *) echo "DEVICE is $DEVICE; expected cpu or cuda" && exit 2 ;; \
    esac \
    && pip install --no-deps --require-hashes -r requirements.txt \
    && if grep -qs '^Requires-Dist: cuda-' "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"/torch-*.dist-info/METADATA; then \
        pip install --no-deps --require-hashes -r requirements-cuda.txt; fi

COPY . .
RUN pip install 'setuptools>=77' && pip install --no-build-isolation -e '.[gym,math,sweep,serve]' -c constraints.txt \
    && useradd --create-home --uid 1000 rethink && mkdir -p runs && chown rethink runs
USER 1000
EXPOSE 8000
ENTRYPOINT ["rethink"]
CMD ["help"]
