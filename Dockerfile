# syntax=docker/dockerfile:1
# The worker's image: no compiler, no root, its kernels compiled ahead. compose.yaml runs it.

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/enforcer
WORKDIR /source
# Dependencies first, with a package that is only a version: a change of our code keeps their layer.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY stream/__init__.py stream/
RUN pip --python /opt/enforcer/bin/python install --constraint constraints.txt '.[signing]'
COPY stream stream
RUN pip --python /opt/enforcer/bin/python install --no-deps --force-reinstall .

FROM python:3.13-slim
RUN groupadd --gid 10001 enforcer \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/enforcer --shell /bin/false enforcer \
 && install --directory --owner enforcer --group enforcer --mode 0700 \
      /var/lib/enforcer /var/cache/enforcer \
 && install --directory --owner enforcer --group enforcer --mode 0755 /opt/kernels
COPY --from=build /opt/enforcer /opt/enforcer
ENV PATH=/opt/enforcer/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/enforcer
# Numba compiles for the processor it finds: on another kind the first start compiles again.
RUN XDG_CACHE_HOME=/opt/kernels enforcer warm
# A volume or tmpfs may cover the cache, so the kernels are copied there at start; where they cannot
# be (another user's cache, a root that is read-only), the command runs all the same.
ENV XDG_CACHE_HOME=/var/cache/enforcer
ENTRYPOINT ["/bin/sh", "-c", "{ cp -R /opt/kernels/. \"$XDG_CACHE_HOME\" || true; } && exec \"$@\"", "--"]
CMD ["enforcer", "run"]
