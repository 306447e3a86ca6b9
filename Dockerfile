# The image of every Airflow service and of the MLflow server: the official Airflow image with this project's pinned
# packages. The code itself is mounted, not copied, see docker-compose.yaml.
FROM apache/airflow:3.3.2-python3.12@sha256:9df9c8be4096b9cc626bd7cb1f2b8c712eef66c59c615f8c7e6200871ca10bd1

# The PyTorch wheel. `cpu` has a tenth of the CUDA wheel's size and runs anywhere. `auto` would depend on the building
# machine. For a GPU, name its CUDA version: `--build-arg TORCH_BACKEND=cu132`.
ARG TORCH_BACKEND=cpu

COPY requirements.in requirements.txt requirements-image.in requirements-image.txt /opt/millrace/

# The pins are constraints and not requirements, because requirements.txt also lists the CUDA packages, which a CPU
# wheel does not need. What is downloaded is compared with their hashes, except the packages that may come from PyTorch's
# own index, whose files the hashes do not name. `sync` removes the official image's other packages: some of its
# providers need other versions than the pinned ones (`fab` needs python-dateutil 2, the pins have 4). What remains are
# the tested versions.
RUN cd /opt/millrace \
    && export UV_NO_CACHE=1 UV_TORCH_BACKEND="${TORCH_BACKEND}" \
    && sed -E '/^(torch|triton|nvidia|cuda)/,/[^\\]$/ {/^ /d; s/ \\$//}' requirements.txt > /tmp/pins.txt \
    && uv pip compile --quiet --no-annotate --constraint /tmp/pins.txt --constraint requirements-image.txt \
        --output-file /tmp/image.txt requirements.in requirements-image.in \
    && uv pip sync --compile-bytecode --constraint /tmp/pins.txt --constraint requirements-image.txt /tmp/image.txt \
    && uv pip check \
    && rm /tmp/pins.txt /tmp/image.txt

# A new named volume gets owner and mode of the folder that it covers. Without that folder it belongs to root, and no other
# user can write to it. The group is root's, with which compose runs the image as any user.
RUN mkdir --mode 0770 --parents /opt/airflow/state /opt/airflow/mlartifacts
