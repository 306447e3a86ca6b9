# The image of every Airflow service and of the MLflow server: the official Airflow image with this project's pinned
# packages. The code itself is mounted, not copied, see docker-compose.yaml.
FROM apache/airflow:3.3.2-python3.11

# The PyTorch wheel. `cpu` has a tenth of the CUDA wheel's size and runs anywhere. `auto` would depend on the building
# machine. For a GPU, name its CUDA version: `--build-arg TORCH_BACKEND=cu132`.
ARG TORCH_BACKEND=cpu

COPY requirements.in requirements.txt /opt/millrace/

# The pins are constraints and not requirements, because requirements.txt also lists the CUDA packages, which a CPU
# wheel does not need. Only this image needs the two Postgres drivers: psycopg2 for Airflow and MLflow, asyncpg for
# Airflow's API server. `sync` removes the official image's other packages: some of its providers need other versions
# than the pinned ones (`fab` needs python-dateutil 2, the pins have 4). What remains are the tested versions.
RUN export UV_NO_CACHE=1 UV_TORCH_BACKEND="${TORCH_BACKEND}" \
    && printf 'psycopg2-binary==2.9.13\nasyncpg==0.32.0\n' > /tmp/postgres.in \
    && uv pip compile --quiet --no-annotate --constraint /opt/millrace/requirements.txt \
        --output-file /tmp/image.txt /opt/millrace/requirements.in /tmp/postgres.in \
    && uv pip sync --compile-bytecode /tmp/image.txt \
    && uv pip check \
    && rm /tmp/postgres.in /tmp/image.txt

# A new named volume gets owner and mode of the folder that it covers. Without that folder it belongs to root, and the
# airflow user cannot write to it.
RUN mkdir --parents /opt/airflow/state /opt/airflow/login /opt/airflow/mlartifacts
