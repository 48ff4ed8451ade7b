# Noctule as a container image; docs/container.md says how to use it.
#
#   docker build -t noctule .
#
# Both stages are Debian with Debian's Python, so that what is compiled in the first runs in the second.
ARG DEBIAN=debian:trixie-slim

FROM ${DEBIAN} AS build
ARG DEBIAN_FRONTEND=noninteractive
# The versions are those of the Debian release that was chosen above.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY packaging/check-toolchain.sh packaging/
COPY _speedups _speedups
COPY plugins plugins
COPY broker broker
RUN python3 -m venv --without-pip /opt/noctule \
    && python3 -m venv /tmp/pip \
    && /tmp/pip/bin/pip --no-cache-dir --python /opt/noctule/bin/python install '.[jwt,http]' \
    && /opt/noctule/bin/python -m compileall -q -j 0 /opt/noctule/lib

FROM ${DEBIAN}
LABEL org.opencontainers.image.title="Noctule" \
      org.opencontainers.image.description="An MQTT broker: MQTT 3.1, 3.1.1 and 5.0" \
      org.opencontainers.image.licenses="MIT"
ARG DEBIAN_FRONTEND=noninteractive
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1883 noctule \
    && useradd --uid 1883 --gid 1883 --no-create-home --home-dir /var/lib/noctule --shell /usr/sbin/nologin noctule \
    && mkdir -p /etc/noctule/conf.d /usr/share/noctule /var/lib/noctule /mosquitto/config /mosquitto/data /mosquitto/log \
    && chown -R noctule:noctule /var/lib/noctule /mosquitto
COPY --from=build /opt/noctule /opt/noctule
COPY packaging/container/container.toml /usr/share/noctule/container.toml
COPY packaging/container/mosquitto-no-auth.conf /mosquitto-no-auth.conf
COPY --chmod=0755 packaging/container/entrypoint /usr/local/bin/noctule-container
COPY --chmod=0755 packaging/container/healthcheck /usr/local/bin/noctule-health
COPY --chmod=0755 packaging/container/mosquitto-command /usr/local/bin/mosquitto
RUN ln -s /opt/noctule/bin/noctule /usr/local/bin/noctule \
    && for tool in passwd pub sub rr; do ln -s mosquitto "/usr/local/bin/mosquitto_$tool"; done
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 1883:1883
WORKDIR /var/lib/noctule
VOLUME ["/var/lib/noctule"]
# MQTT; MQTT in WebSocket; metrics and health
EXPOSE 1883 9001 9883
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["noctule-health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["noctule-container"]
