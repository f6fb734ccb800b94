# For the CPU: docker build -t treefilter . && docker run treefilter
# The demonstration's pictures are in /treefilter: photo_demo.png and runs/demo/report.html.
FROM python:3.11-slim-bookworm
# Debian keeps one version of a package, so that a version named here would soon be missing.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /treefilter
# torch without CUDA, in the version of constraints.txt: a fraction of the download.
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu PIP_NO_CACHE_DIR=1
COPY constraints.txt Makefile ./
RUN make .venv/.ready
COPY . .
RUN make .venv/.installed
CMD ["make", "demo"]
