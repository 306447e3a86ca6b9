# The image of every Airflow service and of the MLflow server: the official Airflow image with this project's pinned
# packages. The code itself is mounted, not copied, see docker-compose.yaml.
FROM apache/airflow:3.3.2-python3.11

# Which PyTorch wheel. `cpu` has a tenth of the CUDA one's size and runs anywhere. `auto` would look at the machine that
# builds, so that one Dockerfile gave different images. For a GPU name its CUDA: `--build-arg TORCH_BACKEND=cu132`.
ARG TORCH_BACKEND=cpu

COPY requirements.in requirements.txt /opt/millrace/

# The pins are constraints here, not requirements: requirements.txt also names the CUDA packages of the default wheel,
# which a CPU wheel never loads. The two Postgres drivers are only needed here: psycopg2 by Airflow and MLflow, asyncpg
# by Airflow's API server. `sync` also removes what the official image carries besides: its other providers want other
# versions than the pinned ones (`fab` wants python-dateutil 2, the pins have 4), and what the tests ran with remains.
RUN export UV_NO_CACHE=1 UV_TORCH_BACKEND="${TORCH_BACKEND}" \
    && printf 'psycopg2-binary==2.9.13\nasyncpg==0.32.0\n' > /tmp/postgres.in \
    && uv pip compile --quiet --no-annotate --constraint /opt/millrace/requirements.txt \
        --output-file /tmp/image.txt /opt/millrace/requirements.in /tmp/postgres.in \
    && uv pip sync --compile-bytecode /tmp/image.txt \
    && uv pip check \
    && rm /tmp/postgres.in /tmp/image.txt

# A fresh named volume takes owner and mode from the folder that it covers; without one it would be root's and
# the airflow user could not write into it.
RUN mkdir --parents /opt/airflow/state /opt/airflow/login /opt/airflow/mlartifacts
