# portproof with both frameworks, on CPUs. NOT BUILT where it was written, only linted, by hadolint 2.15.1 and by
# tests/docs/test_ci_files.py: report what a build says.
#
#   docker build -t portproof .
#   docker run --rm -v "$PWD:/work" portproof verify my_port.py

FROM python:3.11.13-slim-bookworm AS build
WORKDIR /source
RUN python -m venv /opt/portproof && python -m pip install --no-cache-dir uv==0.13.9
COPY pyproject.toml setup.py MANIFEST.in constraints.txt README.md LICENSE ./
COPY portproof ./portproof
COPY paddle_impl ./paddle_impl
COPY torch_impl ./torch_impl
COPY convert ./convert
COPY parity_tests ./parity_tests
COPY benchmarks ./benchmarks
RUN uv pip install --no-cache --python /opt/portproof/bin/python --torch-backend cpu -c constraints.txt ".[all]" pytest

FROM python:3.11.13-slim-bookworm
# Paddle's libraries want the system's OpenMP; the version is the distribution's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 portproof
COPY --from=build /opt/portproof /opt/portproof
ENV PATH=/opt/portproof/bin:$PATH
USER 10001
WORKDIR /work
ENTRYPOINT ["portproof"]
CMD ["--help"]
